//! Dockerfiles that start from images in a registry.

use std::collections::BTreeMap;

use alcove_e2e::prepared;
use alcove_runner::registry::{HostSettings, RegistrySettings};
use alcove_runner_api::{BaseImage, Build, BuildFaultCode, PullOfBase, RegistryCredentials};
use alcove_testkit::registry::{Asks, PASSWORD, TestRegistry, USER};

use crate::more::file;
use crate::support::TestBuilds;

const REPOSITORY: &str = "team/tiny";

/// Puts the tiny image there, with this note in it.
fn push(registry: &TestRegistry, note: &str) {
    let archive = prepared("ALCOVE_IMAGES_DIR", "busybox.oci.tar");
    registry.push_variant(REPOSITORY, "1", &archive, "etc/note", note.as_bytes());
}

async fn start(registry: &TestRegistry) -> TestBuilds {
    let settings = HostSettings {
        is_insecure: true,
        ..HostSettings::default()
    };
    let registries = RegistrySettings {
        hosts: BTreeMap::from([(registry.host(), settings)]),
    };
    TestBuilds::start_with(|config| alcove_runner::RunnerConfig {
        registries,
        ..config
    })
    .await
}

fn order(builds: &TestBuilds, id: &str, text: &str, base: &str, password: Option<&str>) -> Build {
    let mut order = builds.order(id, text, &[]);
    let pull = PullOfBase {
        reference: base.to_owned(),
        credentials: password.map(|password| RegistryCredentials {
            username: USER.to_owned(),
            password: password.to_owned(),
        }),
        is_plain: false,
        max_bytes: 1 << 30,
    };
    order.images.insert(base.to_owned(), BaseImage::Pull(pull));
    order
}

#[tokio::test]
async fn images_come_from_their_registry_and_a_tag_is_asked_for_with_each_build() {
    let registry = TestRegistry::open();
    push(&registry, "one");
    let builds = start(&registry).await;
    let base = format!("{}/{REPOSITORY}:1", registry.host());
    let text = format!(
        "FROM {base} AS first\nUSER root\nRUN cat /etc/note > /copied\nFROM {base}\nUSER root\nCOPY --from=first /copied /a\n\
         COPY --from={base} /etc/note /b\n"
    );
    let image = builds
        .run(order(&builds, "first", &text, &base, None))
        .await;
    let built = builds.look(&image.expect("it is built"));
    assert_eq!(file(&built, "/a"), "644 0:0 file \"one\"");
    assert_eq!(file(&built, "/b"), "644 0:0 file \"one\"");
    let log = builds.log("first").await;
    assert_eq!(
        log.matches(&format!("Pulling {base}\n")).count(),
        1,
        "{log}"
    );
    assert!(log.contains(" MB\n") && log.contains("  sha256:"), "{log}");

    let again = builds
        .run(order(&builds, "again", &text, &base, None))
        .await;
    again.expect("it is built");
    let log = builds.log("again").await;
    assert_eq!(log.matches("known already").count(), 3, "{log}");

    push(&registry, "two");
    let newer = builds
        .run(order(&builds, "newer", &text, &base, None))
        .await;
    let built = builds.look(&newer.expect("it is built"));
    assert_eq!(file(&built, "/a"), "644 0:0 file \"two\"");

    // Nothing but the image is asked for: then it is the image.
    let lone = builds
        .run(order(&builds, "lone", &format!("FROM {base}"), &base, None))
        .await
        .expect("it is built");
    assert_eq!(
        file(&builds.look(&lone), "/etc/note"),
        "644 0:0 file \"two\""
    );
    builds.end().await;
}

#[tokio::test]
async fn what_cannot_be_pulled_is_named_with_the_reason() {
    let registry = TestRegistry::start(Asks::Password, false);
    push(&registry, "secret");
    let builds = start(&registry).await;
    let host = registry.host();
    for (id, base, password, words) in [
        (
            "missing",
            format!("{host}/team/none:1"),
            Some(PASSWORD),
            "team/none",
        ),
        (
            "anonymous",
            format!("{host}/{REPOSITORY}:1"),
            None,
            "credentials",
        ),
        (
            "wrong",
            format!("{host}/{REPOSITORY}:1"),
            Some("wrong"),
            "credentials",
        ),
        ("unknown", "127.0.0.1:1/x:1".to_owned(), None, "127.0.0.1:1"),
    ] {
        let text = format!("FROM {base}\nRUN true\n");
        let fault = builds
            .run(order(&builds, id, &text, &base, password))
            .await
            .expect_err("it fails");
        assert_eq!(fault.code, BuildFaultCode::BaseImage, "{id}: {fault:?}");
        assert!(fault.message.contains(&base), "{id}: {fault:?}");
        assert!(fault.message.contains(words), "{id}: {fault:?}");
        let log = builds.log(id).await;
        assert!(log.contains(&fault.message), "{id}: {log}");
        assert!(
            !log.contains(PASSWORD) && !log.contains("Step"),
            "{id}: {log}"
        );
    }
    // The control: with the right password it is there.
    let base = format!("{host}/{REPOSITORY}:1");
    let text = format!("FROM {base}\nUSER root\nRUN true\n");
    let done = builds
        .run(order(&builds, "right", &text, &base, Some(PASSWORD)))
        .await;
    done.expect("it is built");
    // What one organization has brought is not another's.
    let mut foreign = order(&builds, "foreign", &text, &base, None);
    foreign.organization = "22222222-2222-2222-2222-222222222222".to_owned();
    let fault = builds.run(foreign).await.expect_err("it may not");
    assert_eq!(fault.code, BuildFaultCode::BaseImage, "{fault:?}");
    builds.end().await;
}
