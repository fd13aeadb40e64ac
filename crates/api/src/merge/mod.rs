//! Patches and server-side apply over the schema table. No kind is named here.
