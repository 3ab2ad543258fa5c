"""Does a class survive a shift? A loss that asks for it, beside paddings and coordinates."""
