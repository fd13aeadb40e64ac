//! What tests of several rooms share. Nothing of it is in the product.

pub mod leaks;
