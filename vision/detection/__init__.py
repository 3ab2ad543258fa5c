"""Detection of scattered digits: the paper's region-proposal network and a whole Faster R-CNN."""
