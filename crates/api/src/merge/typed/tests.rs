//! Walkers over small schemas made by hand.
