"""Where position comes from: classifiers that differ in their padding alone, each trained, then probed."""
