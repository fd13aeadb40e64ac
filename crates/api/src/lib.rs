//! The kinds and what is known of them: one schema table for shapes, small files for rules. Codecs, merge rules,
//! discovery and OpenAPI follow from the table. Nothing here does I/O, knows a store, or serves a request.

pub mod codec;
pub mod custom;
pub mod discovery;
pub mod expression;
pub mod forms;
pub mod merge;
pub mod openapi;
pub mod pod_security;
pub mod quota;
pub mod resource;
pub mod rules;
pub mod schema;
pub mod type_check;
