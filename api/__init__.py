"""The process: settings, authentication, transports, health, command line, embedded PostgreSQL."""
