"""Drawn bedrooms, the stand-in where LSUN is not at hand: each a function of (seed, index)."""

from sandbox.data.rooms.rooms import SIZES, RoomFactors, Rooms, RoomsRendered

__all__ = ["SIZES", "RoomFactors", "Rooms", "RoomsRendered"]
