"""Speed, measured side by side in one run: read the ratios, for machines differ and are noisy."""
