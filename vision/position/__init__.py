"""How much position a network's features hold: a probe on any network (Islam, Jia and Bruce 2020, PosENet)."""
