"""The layer, and what networks are built of: planes, blocks, paddings, seeding, counting of multiply-adds."""
