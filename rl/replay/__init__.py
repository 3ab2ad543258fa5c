"""Learning from stored play: what an actor records, the store it is drawn from, and the learner."""
