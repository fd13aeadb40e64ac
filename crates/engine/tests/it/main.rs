//! Real containers, made from the carried `report` program. Needs root.

mod harness;
mod life;
