"""Those who call the API: over the network only, with nothing of the server's own code."""
