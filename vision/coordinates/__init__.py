"""The paper's three coordinate tasks: classification, regression and rendering of one position."""
