//! Brings decided images to their destinations, and is sure that they are there.
