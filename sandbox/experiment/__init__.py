"""What is run: a study's spec, typed settings, YAML files, run folders, sweeps."""
