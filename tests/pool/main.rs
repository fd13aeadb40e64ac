//! Black box on several machines: namespaces joined by links that fail on purpose, a server on the first, nodes that join
//! it on the others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod certificates;
mod cut;
mod images;
mod joining;
mod late;
mod leaving;
mod nodes;
mod otherwise;
mod rounds;
mod stage;
mod traffic;
mod tunnel;
mod view;
