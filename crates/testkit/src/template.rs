//! Databases whose schema is up to date from the start. Bringing one up to date takes longer than most tests do.
//!
//! What tests the migrations themselves opens an empty database.

use std::path::Path;

use alcove_store::Store;
use tokio::sync::OnceCell;

use crate::Postgres;

/// Puts a SQLite database with today's schema at `path`, unless there is one already.
pub async fn place_database(path: &Path) {
    static FILE: OnceCell<Vec<u8>> = OnceCell::const_new();
    if path.exists() {
        return;
    }
    let file = FILE
        .get_or_init(|| async {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("alcove.db");
            // Closing puts all of it into the one file.
            Store::open(&path).await.expect("a store").close().await;
            std::fs::read(&path).expect("its file")
        })
        .await;
    std::fs::write(path, file).expect("a database");
}

/// The URL of a new PostgreSQL database with today's schema.
pub async fn new_postgres_database() -> String {
    static MODEL: OnceCell<String> = OnceCell::const_new();
    let model = MODEL
        .get_or_init(|| async {
            let url = Postgres::new_database();
            Store::connect(&url).await.expect("a store").close().await;
            url
        })
        .await;
    Postgres::copy_of(model)
}
