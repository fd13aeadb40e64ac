//! What tests of several rooms share. Nothing of it is in the product.

pub mod cluster;
pub mod leaks;
pub mod seed;
pub mod tables;
