//! What buildah does not know, and what only a builder of ours must do.

use alcove_runner_api::BuildFaultCode;

use crate::support::{Case, ORGANIZATION, TestBuilds};

pub fn file(built: &crate::tree::Built, path: &str) -> String {
    built
        .files
        .get(path)
        .cloned()
        .unwrap_or_else(|| format!("{path} is missing"))
}

#[tokio::test]
async fn heredocs_are_scripts_and_files() {
    let builds = TestBuilds::start().await;
    let text = "FROM busybox\nENV A=1\nRUN <<EOF\necho one > /1\necho $A >> /1\nEOF\nRUN cat <<X > /2 && echo end >> /2\nin $A\nX\n\
                COPY <<EOF /f\nvalue $A \"quoted\"\nEOF\nCOPY --chmod=700 <<'A' <<\"B\" /many/\nplain $A\nA\nsecond\nB\n";
    let image = builds
        .run(builds.order("heredocs", text, &[]))
        .await
        .expect("it is built");
    let built = builds.look(&image);
    assert_eq!(file(&built, "/1"), "644 0:0 file \"one\\n1\\n\"");
    assert_eq!(file(&built, "/2"), "644 0:0 file \"in 1\\nend\\n\"");
    assert_eq!(
        file(&built, "/f"),
        "644 0:0 file \"value 1 \\\"quoted\\\"\\n\""
    );
    assert_eq!(file(&built, "/many/A"), "700 0:0 file \"plain $A\\n\"");
    assert_eq!(file(&built, "/many/B"), "700 0:0 file \"second\\n\"");
    builds.end().await;
}

#[tokio::test]
async fn mounts_are_there_for_one_command_and_leave_no_trace() {
    let builds = TestBuilds::start().await;
    let case = Case::new("mounts", "").file("src/a", "from the context");
    builds.upload(ORGANIZATION, "part", case.write().path());
    let text = "FROM busybox AS tools\nRUN echo tool > /tool\nFROM busybox\n\
                RUN --mount=type=bind,source=src,target=/mnt/deep --mount=type=bind,from=tools,source=/tool,target=/tool \
                    --mount=type=cache,target=/cache,uid=5 --mount=type=tmpfs,target=/memory --mount=type=secret,id=none \
                    cat /mnt/deep/a /tool > /out && touch /cache/x /memory/y && stat -c %u /cache >> /out \
                    && ! touch /mnt/deep/b 2>/dev/null && ! touch /tool 2>/dev/null\n";
    let image = builds.run(builds.order("mounts", text, &["part"])).await;
    let image = match image {
        Ok(image) => image,
        Err(fault) => panic!("{fault:?}\n{}", builds.log("mounts").await),
    };
    let built = builds.look(&image);
    assert_eq!(
        file(&built, "/out"),
        "644 0:0 file \"from the contexttool\\n5\\n\""
    );
    for path in ["/mnt/deep", "/tool", "/cache", "/memory"] {
        assert!(
            !built.files.contains_key(path),
            "{path}: {}",
            file(&built, path)
        );
    }
    builds.end().await;
}

#[tokio::test]
async fn a_command_without_network_reaches_only_itself() {
    let builds = TestBuilds::start().await;
    let text = "FROM busybox\nRUN ip -o link | grep -c eth0 > /with\n\
                RUN --network=none ip -o link | grep -c . > /without && ip -o link | grep -c LOOPBACK,UP >> /without\n";
    let image = builds
        .run(builds.order("network", text, &[]))
        .await
        .expect("it is built");
    let built = builds.look(&image);
    assert_eq!(
        file(&built, "/with"),
        "644 0:0 file \"1\\n\"",
        "the positive control"
    );
    assert_eq!(
        file(&built, "/without"),
        "644 0:0 file \"1\\n1\\n\"",
        "the loopback alone"
    );
    builds.end().await;
}

#[tokio::test]
async fn finished_steps_are_found_again_by_the_same_organization_only() {
    let builds = TestBuilds::start().await;
    let case = Case::new("cache", "").file("a", "1");
    let context = case.write();
    builds.upload(ORGANIZATION, "part", context.path());
    let text =
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /random\nCOPY a /a\nWORKDIR /w\n";
    let first = builds
        .run(builds.order("first", text, &["part"]))
        .await
        .expect("it is built");
    let second = builds
        .run(builds.order("second", text, &["part"]))
        .await
        .expect("it is built");
    assert_eq!(first.digest, second.digest);
    assert_eq!(
        builds.log("second").await.matches("known already").count(),
        3
    );

    let mut foreign = builds.order("foreign", text, &["part"]);
    foreign.organization = "22222222-2222-2222-2222-222222222222".to_owned();
    builds.upload(&foreign.organization, "part", context.path());
    let third = builds.run(foreign).await.expect("it is built");
    assert_ne!(first.digest, third.digest);
    assert!(!builds.log("foreign").await.contains("known already"));

    // Another content of the same name: what comes before the copy is still known.
    let other = Case::new("cache", "").file("a", "2");
    builds.upload(ORGANIZATION, "other", other.write().path());
    let fourth = builds
        .run(builds.order("fourth", text, &["other"]))
        .await
        .expect("it is built");
    assert_eq!(
        builds.log("fourth").await.matches("known already").count(),
        1
    );
    let built = builds.look(&fourth);
    assert_eq!(file(&built, "/a"), "644 0:0 file \"2\"");
    builds.end().await;
}

#[tokio::test]
async fn a_failed_step_tells_its_line_and_leaves_nothing_on_the_host() {
    let builds = TestBuilds::start().await;
    for (id, text, line, words) in [
        (
            "code",
            "FROM busybox\nRUN true\nRUN echo about to fail; exit 7\n",
            3,
            "exit code 7",
        ),
        (
            "missing-file",
            "FROM busybox\nCOPY none /x\n",
            2,
            "not in the source",
        ),
        (
            "missing-user",
            "FROM busybox\nUSER ghost\nRUN true\n",
            3,
            "ghost",
        ),
        (
            "missing-program",
            "FROM busybox\nRUN [\"/no/such\"]\n",
            2,
            "/no/such",
        ),
    ] {
        let fault = builds
            .run(builds.order(id, text, &[]))
            .await
            .expect_err("it fails");
        assert_eq!(fault.code, BuildFaultCode::StepFailed, "{id}: {fault:?}");
        assert!(
            fault.message.contains(&format!("line {line}:")),
            "{id}: {fault:?}"
        );
        assert!(fault.message.contains(words), "{id}: {fault:?}");
        assert!(builds.log(id).await.contains(&fault.message), "{id}");
    }
    assert!(builds.log("code").await.contains("about to fail"));
    let refused = builds
        .run(builds.order(
            "refused",
            "FROM busybox\nRUN touch /x\nCOPY https://x/y /z\n",
            &[],
        ))
        .await;
    let refused = refused.expect_err("it is refused");
    assert_eq!(refused.code, BuildFaultCode::Refused);
    assert!(
        !builds.log("refused").await.contains("Step"),
        "nothing may have run"
    );
    builds.end().await;
}

#[tokio::test]
async fn a_hostile_source_leads_nowhere() {
    let builds = TestBuilds::start().await;
    let case = Case::new("links", "")
        .link("out", "/etc")
        .link("up", "../../../../../../../../etc/passwd")
        .file("dir/f", "f");
    builds.upload(ORGANIZATION, "part", case.write().path());
    // Followed, a link of the source ends in the source: there is nothing there.
    for (id, text) in [
        ("file", "FROM busybox\nCOPY up /stolen\n"),
        ("folder", "FROM busybox\nCOPY out /stolen\n"),
        ("below", "FROM busybox\nCOPY out/passwd /stolen\n"),
    ] {
        let fault = builds
            .run(builds.order(id, text, &["part"]))
            .await
            .expect_err("nothing is there");
        assert_eq!(fault.code, BuildFaultCode::StepFailed, "{fault:?}");
    }
    // A link in the way of the target ends in the sandbox.
    let text = "FROM busybox\nRUN ln -s /tmp /way\nCOPY dir/f /way/f\n";
    let image = builds
        .run(builds.order("target", text, &["part"]))
        .await
        .expect("it is built");
    assert_eq!(file(&builds.look(&image), "/tmp/f"), "644 0:0 file \"f\"");
    builds.end().await;
}

#[tokio::test]
async fn a_build_ends_when_it_is_cancelled_or_late() {
    let builds = TestBuilds::start().await;
    let text = "FROM busybox\nRUN echo begun; sleep 600\n";
    let order = builds.order("cancelled", text, &[]);
    let running = builds.run(order);
    tokio::pin!(running);
    let begun = async {
        let mut log = Vec::new();
        while !String::from_utf8_lossy(&log).contains("begun") {
            let piece = builds
                .host
                .runner
                .build_log("cancelled", log.len() as u64, true)
                .await
                .expect("a log");
            log.extend(piece.bytes);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = &mut running => panic!("it ended: {ended:?}"),
        () = begun => {}
    }
    builds.host.runner.cancel_build("cancelled");
    let fault = running.await.expect_err("it was cancelled");
    assert_eq!(fault.code, BuildFaultCode::Cancelled);

    let mut order = builds.order("late", text, &[]);
    order.limit = std::time::Duration::from_secs(1);
    let fault = builds.run(order).await.expect_err("it was late");
    assert_eq!(fault.code, BuildFaultCode::TimedOut);
    builds.end().await;
}

#[tokio::test]
async fn programs_in_the_dockerfile_run_as_the_user_and_are_not_in_the_image() {
    let builds = TestBuilds::start().await;
    let text = "FROM busybox\nRUN echo 'u:x:12:12::/:/bin/sh' >> /etc/passwd && mkdir -m 777 /out\nENV A=1\nUSER u\n\
                RUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"$A\" > \"/out/awk\" }\nEOF\n\
                RUN <<EOF\n#!/bin/sh -e\nid -u > /out/sh\necho $0 >> /out/sh\nEOF\n\
                RUN sh -s one <<EOF\necho \"\\$1 $A\" > /out/piped\nEOF\n";
    let image = builds.run(builds.order("programs", text, &[])).await;
    let image = match image {
        Ok(image) => image,
        Err(fault) => panic!("{fault:?}\n{}", builds.log("programs").await),
    };
    let built = builds.look(&image);
    assert_eq!(file(&built, "/out/awk"), "644 12:12 file \"$A\\n\"");
    assert_eq!(
        file(&built, "/out/sh"),
        "644 12:12 file \"12\\n/.alcove-build-script/EOF\\n\""
    );
    assert_eq!(file(&built, "/out/piped"), "644 12:12 file \"one 1\\n\"");
    assert!(!built.files.contains_key("/.alcove-build-script"));
    let text = "FROM busybox\nRUN <<EOF\n#!/no/such/program\nEOF\n";
    let fault = builds.run(builds.order("no-program", text, &[])).await;
    let fault = fault.expect_err("nothing reads it");
    assert_eq!(fault.code, BuildFaultCode::StepFailed, "{fault:?}");
    assert!(fault.message.contains("line 2"), "{fault:?}");
    builds.end().await;
}

#[tokio::test]
async fn what_is_written_to_a_bind_is_thrown_away() {
    let builds = TestBuilds::start().await;
    let case = Case::new("binds", "").file("src/a", "from the context");
    builds.upload(ORGANIZATION, "part", case.write().path());
    let text = "FROM busybox AS tools\nRUN mkdir /t && echo tool > /t/tool\nFROM busybox\n\
                RUN --mount=type=bind,source=src,target=/mnt,rw --mount=type=bind,from=tools,source=/t,target=/t,readwrite \
                    echo new > /mnt/b && echo more >> /mnt/a && rm /t/tool && mv /mnt/a /mnt/c && cat /mnt/c /mnt/b > /out && ls /t >> /out\n\
                RUN --mount=type=bind,source=src,target=/mnt --mount=type=bind,from=tools,source=/t,target=/t \
                    ls /mnt > /after && cat /mnt/a /t/tool >> /after\n";
    let image = builds.run(builds.order("binds", text, &["part"])).await;
    let image = match image {
        Ok(image) => image,
        Err(fault) => panic!("{fault:?}\n{}", builds.log("binds").await),
    };
    let built = builds.look(&image);
    assert_eq!(
        file(&built, "/out"),
        "644 0:0 file \"from the contextmore\\nnew\\n\""
    );
    assert_eq!(
        file(&built, "/after"),
        "644 0:0 file \"a\\nfrom the contexttool\\n\""
    );
    for path in ["/mnt", "/t"] {
        assert!(!built.files.contains_key(path), "{}", file(&built, path));
    }
    builds.end().await;
}

#[tokio::test]
async fn copies_leave_out_what_they_say_and_keep_paths_where_they_are_told_to() {
    let builds = TestBuilds::start().await;
    let case = Case::new("copies", "")
        .file("x/a.txt", "1")
        .file("x/a.log", "2")
        .file("x/deep/b.txt", "3")
        .file("x/deep/b.log", "4")
        .file("y/a.txt", "5")
        .mode("x/deep", 0o700);
    builds.upload(ORGANIZATION, "part", case.write().path());
    let text = "FROM busybox\n\
                COPY --exclude=*.log x /top/\n\
                COPY --exclude=**/*.log --exclude=deep x /all/\n\
                COPY --exclude=*.log x/a* /named/\n\
                COPY --parents x/a.txt y/a.txt /kept/\n\
                COPY --parents x/./deep/*.txt /cut/\n\
                COPY --parents --exclude=**/*.log ./**/*.* /deep\n";
    let image = builds.run(builds.order("copies", text, &["part"])).await;
    let image = match image {
        Ok(image) => image,
        Err(fault) => panic!("{fault:?}\n{}", builds.log("copies").await),
    };
    let built = builds.look(&image);
    let made = ["/top/", "/all/", "/named/", "/kept/", "/cut/", "/deep/"];
    let mut found: Vec<&str> = built
        .files
        .iter()
        .filter(|(path, what)| {
            made.iter().any(|made| path.starts_with(made)) && what.contains(" file ")
        })
        .map(|(path, _)| path.as_str())
        .collect();
    found.sort_unstable();
    let expected = [
        "/all/a.txt",
        "/cut/deep/b.txt",
        "/deep/x/a.txt",
        "/deep/x/deep/b.txt",
        "/deep/y/a.txt",
        "/kept/x/a.txt",
        "/kept/y/a.txt",
        "/named/a.txt",
        "/top/a.txt",
        "/top/deep/b.log",
        "/top/deep/b.txt",
    ];
    assert_eq!(found, expected);
    assert!(file(&built, "/cut/deep").starts_with("700 0:0"));
    builds.end().await;
}
