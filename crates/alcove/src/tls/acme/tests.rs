//! Against pebble, an authority for tests, with a name server of the test's own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Instant;

use alcove_server::{Listener, Redirect, Tls, TlsMode};
use alcove_testkit::acme::{Names, Pebble};
use http::Request;
use instant_acme::{BodyWrapper, HttpClient as _};
use jiff::SignedDuration;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::record::{AccountRecord, DnsRecord, OrderRecord};
use super::*;

const NAME: &str = "box.example.com";
const WILDCARD: &str = "*.box.example.com";

/// An authority, and a server's folder beside it.
struct Place {
    authority: Pebble,
    roots: Vec<CertificateDer<'static>>,
    names: Names,
    data: tempfile::TempDir,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Place {
    /// The authority asks at these ports, and its certificates last so many seconds.
    async fn new(http: u16, tls: u16, seconds: u64) -> Self {
        let names = Names::start();
        let authority = Pebble::start(names.address(), http, tls, seconds).await;
        Self {
            roots: roots(&authority).await,
            authority,
            names,
            data: tempfile::tempdir().unwrap(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        }
    }

    fn arguments(&self, names: &[&str]) -> AcmeArguments {
        AcmeArguments {
            names: names.iter().map(ToString::to_string).collect(),
            directory: self.authority.directory(),
            contact: Some("me@example.com".to_owned()),
            root: Some(self.authority.root()),
            dns_hook: None,
        }
    }

    /// With a program that does as the test's name server wants.
    fn with_hook(&self, names: &[&str]) -> AcmeArguments {
        AcmeArguments {
            dns_hook: Some(self.names.hook(self.data.path(), "")),
            ..self.arguments(names)
        }
    }

    fn open(&self, arguments: &AcmeArguments) -> Acme {
        arguments.open(self.data.path(), None).unwrap().unwrap()
    }

    fn records(&self) -> Records {
        Records::open(&folder_of(self.data.path()).join("acme")).unwrap()
    }

    /// Serves with this certificate, and keeps nothing of it.
    fn listen(&mut self, tcp: TcpListener, certificate: &Certificate) {
        let tls = Tls::new(certificate.clone(), TlsMode::Required).unwrap();
        let redirect = Redirect::new(443, HttpChallenges::default());
        self.tasks.spawn(alcove_server::serve_with(
            Listener::with_tls(tcp, tls),
            redirect,
            self.stop.clone(),
            Duration::ZERO,
            std::future::ready(()),
        ));
    }
}

/// By what the authority's certificates are trusted.
async fn roots(authority: &Pebble) -> Vec<CertificateDer<'static>> {
    let client = Client::new(Some(&authority.root())).unwrap();
    let request = Request::get(authority.roots_url());
    let request = request.body(BodyWrapper::default()).unwrap();
    let mut answer = client.request(request).await.unwrap();
    let pem = answer.body.into_bytes().await.unwrap();
    let all = CertificateDer::pem_slice_iter(&pem);
    all.map(Result::unwrap).collect()
}

/// A machine with much to do takes a while.
const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until it is so.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The certificate that is shown to who trusts these roots and asks for this name.
async fn shown(
    address: SocketAddr,
    roots: &[CertificateDer<'static>],
    name: &str,
) -> std::io::Result<CertificateDer<'static>> {
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(roots.to_vec());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (_, session) = tls.get_ref();
    Ok(session.peer_certificates().unwrap()[0].clone().into_owned())
}

#[tokio::test]
async fn a_name_that_leads_to_the_listener_gets_a_certificate_by_tls() {
    let (tcp, address) = bind().await;
    let mut place = Place::new(1, address.port(), 0).await;
    let acme = place.open(&place.arguments(&[NAME]));
    let certificate = acme.certificate.clone();
    place.listen(tcp, &certificate);
    let roots = place.roots.clone();
    assert!(shown(address, &roots, NAME).await.is_err());
    acme.renew_if_due().await.unwrap();
    assert!(shown(address, &roots, NAME).await.is_ok());
    assert!(shown(address, &roots, "other.example.com").await.is_err());

    // The next process shows it at once, and asks nobody.
    let mut unreachable = place.arguments(&[NAME]);
    unreachable.root = None;
    let next = place.open(&unreachable);
    assert!(!next.left(now()).unwrap().is_zero());
    let (tcp, address) = bind().await;
    place.listen(tcp, &next.certificate);
    assert!(shown(address, &roots, NAME).await.is_ok());
    place.stop.cancel();
}

#[tokio::test]
async fn a_name_that_leads_to_the_redirecting_listener_gets_a_certificate_by_http() {
    let (tcp, address) = bind().await;
    let mut place = Place::new(address.port(), 1, 0).await;
    let challenges = HttpChallenges::default();
    place.tasks.spawn(alcove_server::serve_with(
        tcp.into(),
        Redirect::new(443, challenges.clone()),
        place.stop.clone(),
        Duration::ZERO,
        std::future::ready(()),
    ));
    let arguments = place.arguments(&[NAME]);
    let acme = arguments.open(place.data.path(), Some(challenges));
    let kept = acme.unwrap().unwrap().obtain().await.unwrap();
    assert_eq!(kept.names, [NAME]);
    place.stop.cancel();
}

#[tokio::test]
async fn a_wildcard_gets_a_certificate_by_the_operators_program() {
    let mut place = Place::new(1, 1, 0).await;
    let acme = place.open(&place.with_hook(&[NAME, WILDCARD]));
    acme.renew_if_due().await.unwrap();
    let (tcp, address) = bind().await;
    place.listen(tcp, &acme.certificate);
    let roots = place.roots.clone();
    for name in [NAME, "3000-abc.box.example.com"] {
        assert!(shown(address, &roots, name).await.is_ok(), "{name}");
    }
    // Name and wildcard are two values of one record, and both are gone.
    assert_eq!(place.names.most_values(), 2);
    assert!(place.names.is_empty());
    for path in fs::read_dir(folder_of(place.data.path()).join("acme")).unwrap() {
        let mode = fs::metadata(path.unwrap().path()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
    assert!(place.records().read::<OrderRecord>().unwrap().is_none());
    place.stop.cancel();
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends() {
    let mut place = Place::new(1, 1, 9).await;
    let acme = place.open(&place.with_hook(&[NAME]));
    let first = acme.obtain().await.unwrap();
    let stop = place.stop.clone();
    let records = place.records();
    place.tasks.spawn(acme.keep_fresh(stop));
    until("there is another", || async {
        let kept = records.read::<CertificateRecord>().unwrap().unwrap();
        kept.chain != first.chain
    })
    .await;
    place.stop.cancel();
}

#[tokio::test]
async fn an_order_that_was_cut_off_is_gone_on_with_and_leaves_no_record() {
    let place = Place::new(1, 1, 0).await;
    // It adds its record and never comes back.
    let stuck = AcmeArguments {
        dns_hook: Some(
            place
                .names
                .hook(place.data.path(), "[ $1 = remove ] || sleep infinity"),
        ),
        ..place.arguments(&[NAME])
    };
    let acme = place.open(&stuck);
    {
        let obtain = acme.obtain();
        tokio::pin!(obtain);
        let added = until("the record is there", || async { !place.names.is_empty() });
        tokio::select! {
            _ = &mut obtain => panic!("the program never ends"),
            () = added => {}
        }
    }
    drop(acme);
    let cut = place.records().read::<OrderRecord>().unwrap().unwrap();
    assert_eq!(cut.dns.len(), 1);
    assert!(!place.names.is_empty());

    let acme = place.open(&place.with_hook(&[NAME]));
    let kept = acme.obtain().await.unwrap();
    assert_eq!(kept.key, cut.key);
    assert!(place.names.is_empty());
}

#[tokio::test]
async fn what_goes_wrong_is_told_in_the_authoritys_words_and_the_next_try_can_succeed() {
    let place = Place::new(1, 1, 0).await;
    let acme = place.open(&place.with_hook(&[NAME]));
    place.names.forget_all_that_is_added(true);
    let error = acme.obtain().await.err().unwrap();
    assert!(format!("{error:#}").contains(NAME), "{error:#}");
    assert!(place.names.is_empty());
    place.names.forget_all_that_is_added(false);
    assert_eq!(acme.obtain().await.unwrap().names, [NAME]);

    let failing = AcmeArguments {
        dns_hook: Some(place.names.hook(place.data.path(), "exit 3")),
        ..place.arguments(&["other.example.com"])
    };
    let error = place.open(&failing).obtain().await.err().unwrap();
    assert!(format!("{error:#}").contains("exit status: 3"), "{error:#}");
    // Names that are not those of the certificate do not touch it.
    let kept = place.records().read::<CertificateRecord>().unwrap();
    assert_eq!(kept.unwrap().names, [NAME]);
}

#[tokio::test]
async fn an_account_is_kept_told_of_a_new_contact_and_made_anew_where_it_is_not_known() {
    let place = Place::new(1, 1, 0).await;
    let id = || {
        let kept = place.records().read::<AccountRecord>().unwrap().unwrap();
        let id = serde_json::to_value(&kept.credentials).unwrap()["id"].clone();
        (id, kept.contact)
    };
    let mut arguments = place.with_hook(&[NAME]);
    place.open(&arguments).obtain().await.unwrap();
    let (first, contact) = id();
    assert_eq!(contact.as_deref(), Some("mailto:me@example.com"));
    arguments.contact = Some("you@example.com".to_owned());
    place.open(&arguments).obtain().await.unwrap();
    let expected = Some("mailto:you@example.com".to_owned());
    assert_eq!(id(), (first.clone(), expected));

    // As an authority that lost its memory has it.
    let mut kept = place.records().read::<AccountRecord>().unwrap().unwrap();
    let mut credentials = serde_json::to_value(&kept.credentials).unwrap();
    credentials["id"] = format!("{}0", first.as_str().unwrap()).into();
    kept.credentials = serde_json::from_value(credentials).unwrap();
    place.records().write(&kept).unwrap();
    let acme = place.open(&arguments);
    assert!(acme.obtain().await.is_err());
    acme.obtain().await.unwrap();
}

#[test]
fn names_are_those_of_dns_and_a_wildcard_needs_the_program() {
    for (text, expected) in [
        ("Box.Example.com", "box.example.com"),
        ("*.box.example.com", "*.box.example.com"),
        ("box.example.com.", "box.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ] {
        assert_eq!(name(text).as_deref(), Ok(expected));
    }
    for text in [
        "",
        ".",
        "*",
        "*.",
        "localhost",
        "127.0.0.1",
        "::1",
        "*.*.example.com",
        "a.*.example.com",
        "https://example.com",
        "example.com:443",
        "exa mple.com",
        "-a.example.com",
        "a..example.com",
    ] {
        assert!(name(text).is_err(), "{text:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = AcmeArguments {
        names: vec![WILDCARD.to_owned()],
        directory: LETS_ENCRYPT.to_owned(),
        contact: None,
        root: None,
        dns_hook: None,
    };
    let error = arguments.open(folder.path(), None).err().unwrap();
    assert!(error.to_string().contains("--acme-dns-hook"));
    assert_eq!(arguments.first_name(), None);
    arguments.names.clear();
    assert!(arguments.open(folder.path(), None).unwrap().is_none());
}

#[test]
fn two_thirds_of_a_certificates_time_are_used_and_failures_are_spread() {
    let mut params = rcgen::CertificateParams::new([NAME.to_owned()]).unwrap();
    let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    (params.not_before, params.not_after) = (at(1_700_000_000), at(1_700_000_900));
    let key = rcgen::KeyPair::generate().unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    let start = Timestamp::from_second(1_700_000_000).unwrap();
    for (passed, left) in [(0, 600), (599, 1), (600, 0), (5000, 0), (-100, 700)] {
        let now = start + SignedDuration::from_secs(passed);
        let expected = Duration::from_secs(left);
        assert_eq!(
            left_of(chain.as_bytes(), now).unwrap(),
            expected,
            "{passed}"
        );
    }
    assert!(left_of(b"", start).is_err());
    let minutes = |failures| retry_after(failures).as_secs() / 60;
    assert_eq!([1, 2, 3, 7].map(minutes), [1, 2, 4, 64]);
    assert_eq!(retry_after(u32::MAX), RETRY_LAST);
}

#[test]
fn a_record_that_is_left_without_a_program_is_named() {
    let answers = Answers::Tls(Certificate::default());
    let record = DnsRecord {
        name: "_acme-challenge.box.example.com".to_owned(),
        value: "value".to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let taken = runtime.block_on(answers.take_back(&answer::Answer::Dns(record)));
    assert!(
        taken
            .unwrap_err()
            .to_string()
            .contains("_acme-challenge.box.example.com")
    );
}
