//! Real containers, made from the carried `report` program. Needs root.

mod exec;
mod harness;
mod inside;
mod life;
mod restart;
mod streams;
