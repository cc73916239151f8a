//! URLs of files that carry their own credential.

use alcove_control::{Caller, Clock as _, Error, FileUse, SignedFile, Visitor};
use alcove_testkit::TestControl;
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;

use crate::support::make;

fn signed(key: &str, path: &str, expires: i64) -> SignedFile {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let words = format!("v1:files:GET:{path}:{expires}");
    let signature = BASE64URL_NOPAD.encode(hmac::sign(&key, words.as_bytes()).as_ref());
    SignedFile {
        use_of: FileUse::Download,
        path: path.to_owned(),
        expires,
        signature: format!("v1_{signature}"),
    }
}

async fn visit(kit: &TestControl, place: &str, file: &SignedFile) -> Result<(), Error> {
    let visitor = Visitor {
        signed_file: Some(file),
        ..Visitor::default()
    };
    kit.control.admit_toolbox(&visitor, place).await.map(drop)
}

fn code_of(outcome: Result<(), Error>) -> &'static str {
    outcome.unwrap_err().code()
}

#[tokio::test]
async fn a_signed_url_opens_its_file_in_its_sandbox_until_its_time() {
    let kit = TestControl::open().await;
    let id = make(&kit, "box").await.id.to_string();
    make(&kit, "other").await;
    let key = kit.control.signing_key(&kit.caller, "box").await.unwrap();
    let soon = kit.clock.now().as_second() + 60;
    let file = signed(&key, "/a", soon);
    for place in [id.as_str(), "box"] {
        visit(&kit, place, &file).await.unwrap();
    }
    // Whether there is such a sandbox is not told.
    assert_eq!(code_of(visit(&kit, "other", &file).await), "UNAUTHORIZED");
    assert_eq!(code_of(visit(&kit, "none", &file).await), "UNAUTHORIZED");
    let never = signed(&key, "/a", 0);
    kit.clock.advance_minutes(1);
    let late = visit(&kit, "box", &file).await;
    assert_eq!(code_of(late), "SIGNED_URL_EXPIRED");
    visit(&kit, "box", &never).await.unwrap();
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    let stopped = visit(&kit, "box", &never).await;
    assert_eq!(code_of(stopped), "SANDBOX_NOT_STARTED");
}

#[tokio::test]
async fn a_changed_key_ends_what_was_signed_before_and_outlives_a_kill() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let first = kit.control.signing_key(&kit.caller, "box").await.unwrap();
    let rotate = || kit.control.rotate_signing_key(&kit.caller, "box");
    let (second, third) = (rotate().await.unwrap(), rotate().await.unwrap());
    assert!(first != second && second != third && first != third);
    let kit = kit.restart().await;
    let now = kit.control.signing_key(&kit.caller, "box").await.unwrap();
    assert_eq!(now, third);
    for (key, is_good) in [(&first, false), (&second, false), (&third, true)] {
        let outcome = visit(&kit, "box", &signed(key, "/a", 0)).await;
        assert_eq!(outcome.is_ok(), is_good);
    }
}

#[tokio::test]
async fn the_key_is_for_who_may_write_the_sandbox() {
    let kit = TestControl::open().await;
    make(&kit, "box").await;
    let reader = Caller {
        permissions: std::sync::Arc::default(),
        ..kit.caller.clone()
    };
    let outcomes = [
        kit.control.signing_key(&reader, "box").await,
        kit.control.rotate_signing_key(&reader, "box").await,
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(Error::Forbidden { .. })));
    }
    let missing = kit.control.signing_key(&kit.caller, "none").await;
    assert!(matches!(missing, Err(Error::NotFound { .. })));
}
