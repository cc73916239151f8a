//! A provider in the test's own process, and what signs for it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use alcove_control::DocumentSource;
use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub const ISSUER: &str = "https://id.example.com/realm/";
pub const DISCOVERY: &str = "https://id.example.com/realm/.well-known/openid-configuration";
pub const KEYS: &str = "https://keys.example.com/jwks";
pub const AUDIENCE: &str = "alcove";

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is at an address.
#[derive(Debug, Clone)]
pub enum Document {
    Json(Value),
    Hangs,
}

/// What is where, and how often somebody asked.
#[derive(Debug, Default)]
pub struct Provider {
    documents: Mutex<HashMap<String, Document>>,
    asked: AtomicUsize,
}

#[async_trait]
impl DocumentSource for Provider {
    async fn fetch(
        &self,
        url: &str,
        _: u64,
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.documents.lock().unwrap().get(url).cloned();
        match found {
            Some(Document::Json(json)) => Ok(json.to_string().into_bytes()),
            Some(Document::Hangs) => std::future::pending().await,
            None => Err("nobody is there".into()),
        }
    }
}

impl Provider {
    pub fn put(&self, url: &str, document: Document) {
        self.documents
            .lock()
            .unwrap()
            .insert(url.to_owned(), document);
    }

    pub fn publish(&self, keys: &[Value]) {
        let discovery = json!({"issuer": ISSUER, "jwks_uri": KEYS, "other": 1});
        self.put(DISCOVERY, Document::Json(discovery));
        self.put(KEYS, Document::Json(json!({"keys": keys})));
    }

    pub fn go_away(&self) {
        self.documents.lock().unwrap().clear();
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A key that signs.
pub struct Signer {
    id: &'static str,
    pub pair: EcdsaKeyPair,
}

impl Signer {
    pub fn new(id: &'static str) -> Self {
        Self {
            id,
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        }
    }

    pub fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id,
            "x": encode(&point[1..33]), "y": encode(&point[33..]),
        })
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(
            &json!({"alg": "ES256", "typ": "JWT", "kid": self.id}),
            claims,
        )
    }

    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        format!("{signed}.{}", encode(signature.unwrap()))
    }
}
