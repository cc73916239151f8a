//! A token service for a registry: gives a signed token to whoever brings the right password.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, SigningKey as _};
use serde_json::json;

use super::{PASSWORD, USER};

#[derive(Debug)]
pub struct TokenService {
    address: SocketAddr,
}

struct Signer {
    key: KeyPair,
    /// The certificate, for the header of each token.
    certificate: String,
}

impl TokenService {
    /// Serves until the process ends. The certificate that the registry must trust is `tokens.pem` in the folder.
    pub fn start(folder: &Path) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["tokens".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(folder.join("tokens.pem"), certificate.pem()).expect("a file");
        let signer = Signer {
            key,
            certificate: STANDARD.encode(certificate.der()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up early fails its own test.
                let _ = answer(stream, &signer);
            }
        });
        Self { address }
    }

    pub fn address(&self) -> String {
        format!("http://{}/token", self.address)
    }
}

fn answer(stream: TcpStream, signer: &Signer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    loop {
        let before = request.len();
        if reader.read_line(&mut request)? == 0 || &request[before..] == "\r\n" {
            break;
        }
    }
    let pair = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let is_known = request.contains(&format!("Basic {pair}"));
    let scope = request.split("scope=").nth(1).unwrap_or_default();
    let scope = scope.split([' ', '&']).next().unwrap_or_default();
    let scope = scope.replace("%3A", ":").replace("%2F", "/");
    let (status, body) = if is_known {
        let token = signer.token(&scope);
        (
            "200 OK",
            json!({"token": token, "expires_in": 300}).to_string(),
        )
    } else {
        ("401 Unauthorized", "{}".to_owned())
    };
    let length = body.len();
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

impl Signer {
    /// A token for the one scope, as `repository:NAME:pull`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the registry looks at the real time"
    )]
    fn token(&self, scope: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("a time after 1970").as_secs();
        let name = scope.split(':').nth(1).unwrap_or_default();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": "test-tokens",
            "aud": "test-registry",
            "sub": USER,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": "1",
            "access": [{"type": "repository", "name": name, "actions": ["pull"]}],
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(text.as_bytes()).expect("a signature");
        format!(
            "{text}.{}",
            URL_SAFE_NO_PAD.encode(raw_signature(&signature))
        )
    }
}

/// The two numbers of a signature without their ASN.1 clothes, 32 bytes each.
fn raw_signature(der: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(64);
    // A sequence, its length, then two integers: tag, length, bytes.
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        raw.extend(std::iter::repeat_n(0, 32 - number.len()));
        raw.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    raw
}
