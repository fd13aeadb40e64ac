//! Ownership and apply over small schemas made by hand.
