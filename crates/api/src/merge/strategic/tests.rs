//! Strategic merge over a small schema made by hand.
