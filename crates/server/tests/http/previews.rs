//! Signed URLs of ports, and which requests are a preview's.

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;

use crate::support::{Answer, Server};

/// Asks for a preview, with nothing but the address.
async fn look(server: &Server, url: &str) -> Answer {
    let (host, path) = url
        .trim_start_matches("http://")
        .split_once('/')
        .unwrap_or((url, ""));
    let host = host.trim_start_matches("http://");
    let request = Request::get(format!("/{path}")).header("host", host);
    server.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_signed_url_lets_in_until_it_is_ended() {
    let server = Server::start().await;
    let id = server.create(json!({"name": "a"})).await["id"].clone();
    let sign = async |query: &str| {
        let path = format!("/api/sandbox/a/ports/3000/signed-preview-url{query}");
        server.ask("GET", &path).await
    };
    for bad in ["0", "-5", "86401", "x"] {
        let refused = sign(&format!("?expiresInSeconds={bad}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let signed = sign("?expiresInSeconds=600").await.ok();
    let token = signed["token"].as_str().unwrap();
    let url = format!("http://3000-{token}.localhost:3000");
    assert_eq!(
        signed,
        json!({"sandboxId": id, "port": 3000, "token": token, "url": url})
    );

    // The fake host answers on no port: who is let in learns that, who is not does not.
    let let_in = look(&server, &url).await;
    assert_eq!(let_in.status, StatusCode::BAD_GATEWAY, "{}", let_in.text);
    let changed = url.replace("3000-", "3001-");
    assert_eq!(
        look(&server, &changed).await.status,
        StatusCode::UNAUTHORIZED
    );

    let expire = format!("/api/sandbox/a/ports/3000/signed-preview-url/{token}/expire");
    let elsewhere = expire.replace("3000", "3001");
    assert_eq!(
        server.ask("POST", &elsewhere).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(server.ask("POST", &expire).await.status, StatusCode::OK);
    let ended = look(&server, &url).await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ended.json()["code"], "PREVIEW_URL_EXPIRED");
}

#[tokio::test]
async fn what_a_host_of_previews_answers_has_nothing_of_the_servers_own_answers() {
    let server = Server::start().await;
    server.create(json!({"name": "a", "public": true})).await;
    // A path of the API is the program's, below its own name.
    let preview = look(&server, "http://3000-a.localhost:3000/api/health").await;
    assert_eq!(preview.status, StatusCode::BAD_GATEWAY, "{}", preview.text);
    for name in ["x-daytona-api-version", "access-control-allow-origin"] {
        assert!(!preview.headers.contains_key(name), "{name}");
    }
    let own = look(&server, "http://localhost:3000/api/health").await;
    assert_eq!(own.status, StatusCode::OK);
    assert!(own.headers.contains_key("x-daytona-api-version"));
    let by_path = look(&server, "http://localhost:3000/p/a/3000/").await;
    assert_eq!(by_path.status, StatusCode::BAD_GATEWAY);
}
