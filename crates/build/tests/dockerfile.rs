//! What whole Dockerfiles mean, and what is refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use alcove_build::{
    Action, Base, Config, Copy, Dockerfile, Fetch, Fetched, Mount, MountKind, Plan, Refusal, Run,
    Source, is_commit,
};
use proptest::prelude::*;

fn plan(text: &str) -> Result<Plan, Refusal> {
    Dockerfile::parse(text)?.plan(|name| {
        (name == "base").then(|| Config {
            env: vec![("PATH".to_owned(), "/bin".to_owned())],
            cmd: vec!["sh".to_owned()],
            ..Config::default()
        })
    })
}

#[track_caller]
fn good(text: &str) -> Plan {
    plan(text).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn actions(plan: &Plan) -> Vec<&Action> {
    plan.stages
        .iter()
        .flat_map(|stage| &stage.steps)
        .map(|step| &step.action)
        .collect()
}

#[track_caller]
fn run(plan: &Plan, number: usize) -> &Run {
    let runs: Vec<&Run> = actions(plan)
        .into_iter()
        .filter_map(|action| match action {
            Action::Run(run) => Some(run),
            _ => None,
        })
        .collect();
    runs[number]
}

#[track_caller]
fn copy(plan: &Plan) -> &Copy {
    let copy = actions(plan).into_iter().find_map(|action| match action {
        Action::Copy(copy) => Some(copy),
        _ => None,
    });
    copy.expect("a copy")
}

fn config(plan: &Plan) -> &Config {
    &plan.stages.last().expect("a stage").config
}

#[test]
fn lines_are_joined_and_comments_between_them_go() {
    let plan = good("# c\n\nFROM base\nRUN a \\\n# c\n  b \\\n\n  c\n  run d\n");
    assert_eq!(run(&plan, 0).argv, ["/bin/sh", "-c", "a   b   c"]);
    assert_eq!(run(&plan, 1).argv[2], "d");
    assert_eq!(plan.stages[0].steps[1].line, 9);
}

#[test]
fn another_escape_joins_lines_and_leaves_backslashes() {
    let plan = good("# escape=`\nFROM base\nRUN a `\nb\nENV P=C:\\x\n");
    assert_eq!(run(&plan, 0).argv[2], "a b");
    assert_eq!(config(&plan).variable("P"), Some("C:\\x"));
}

#[test]
fn the_two_forms_of_commands_are_told_apart() {
    let plan = good(
        "FROM base\nRUN [\"a\", \"b c\"]\nRUN [ a ]\nRUN \"a\" \"b\"\nSHELL [\"/s\"]\nRUN x\n",
    );
    assert_eq!(run(&plan, 0).argv, ["a", "b c"]);
    assert_eq!(run(&plan, 1).argv, ["/bin/sh", "-c", "[ a ]"]);
    assert_eq!(run(&plan, 2).argv[2], "\"a\" \"b\"");
    assert_eq!(run(&plan, 3).argv, ["/s", "x"]);
}

#[test]
fn variables_of_one_instruction_see_those_before_it() {
    let plan = good("FROM base\nENV A=1\nENV A=2 B=$A C='$A' D=\"$A x\"\nENV OLD some $A text\n");
    let config = config(&plan);
    let value = |name| config.variable(name).unwrap_or_default();
    assert_eq!(
        (value("A"), value("B"), value("C"), value("D")),
        ("2", "1", "$A", "1 x")
    );
    assert_eq!(value("OLD"), "some 2 text");
    assert_eq!(value("PATH"), "/bin");
}

#[test]
fn arguments_have_the_scopes_of_the_reference() {
    let plan = good(
        "ARG V=1\nARG I=base\nFROM $I AS one\nRUN a $V\nARG V\nARG W=w$V\nARG NONE\nENV W=env\nRUN b\n\
         FROM one\nRUN c\nFROM base\nCOPY --from=1 x /\nRUN d\n",
    );
    let env = |number| &run(&plan, number).env;
    assert_eq!(env(0).get("V"), None, "not declared in the stage yet");
    assert_eq!(env(1).get("V").map(String::as_str), Some("1"));
    assert_eq!(
        env(1).get("W").map(String::as_str),
        Some("env"),
        "a variable wins"
    );
    assert_eq!(env(1).get("NONE"), None);
    assert_eq!(
        env(2).get("V").map(String::as_str),
        Some("1"),
        "inherited with the stage"
    );
    assert_eq!(env(3).get("V"), None);
    assert_eq!(
        config(&plan).variable("V"),
        None,
        "no argument gets into the image"
    );
}

#[test]
fn the_platform_is_known_before_and_in_stages() {
    let plan = good("FROM --platform=$BUILDPLATFORM base\nARG TARGETARCH\nRUN a\n");
    assert_eq!(run(&plan, 0).env["TARGETARCH"], "amd64");
    let refusal = plan_error("FROM --platform=linux/arm64 base\n");
    assert_eq!(refusal.line, 1);
}

#[track_caller]
fn plan_error(text: &str) -> Refusal {
    plan(text).expect_err("it is refused")
}

#[test]
fn only_stages_that_are_needed_are_planned() {
    let plan = good(
        "FROM base AS a\nRUN 1\nFROM base AS unused\nRUN 2\nFROM scratch AS b\nCOPY --from=a /x /y\nFROM B\nCOPY --from=0 . /z/\n",
    );
    let indices: Vec<usize> = plan.stages.iter().map(|stage| stage.index).collect();
    assert_eq!(indices, [0, 2, 3]);
    assert_eq!(plan.stages[2].base, Base::Stage(2));
    assert_eq!(plan.stages[1].base, Base::Scratch);
    assert_eq!(copy(&plan).source, Source::Stage(0));
    assert_eq!(
        Dockerfile::parse("FROM x\nCOPY --from=y:1 /a /b\n").map(|file| file.images()),
        Ok(vec!["x".to_owned(), "y:1".to_owned()])
    );
}

#[test]
fn paths_are_absolute_and_folders_are_told_by_a_slash() {
    let plan = good("FROM base\nWORKDIR /a\nWORKDIR b/../c\nCOPY x ./y/.. \"z/\"\n");
    assert_eq!(config(&plan).workdir, "/a/c");
    let made = copy(&plan);
    assert_eq!((made.target.as_str(), made.is_folder), ("/a/c/z", true));
    assert_eq!(made.paths, ["x", "."]);
}

#[test]
fn a_new_entrypoint_takes_an_inherited_command_away_and_not_an_own_one() {
    assert!(
        config(&good("FROM base\nENTRYPOINT [\"e\"]\n"))
            .cmd
            .is_empty()
    );
    let both = good("FROM base\nCMD [\"c\"]\nENTRYPOINT e x\n");
    assert_eq!(config(&both).cmd, ["c"]);
    assert_eq!(config(&both).entrypoint, ["/bin/sh", "-c", "e x"]);
}

#[test]
fn heredocs_are_scripts_and_files() {
    let plan = good(
        "FROM base\nENV A=1\nRUN <<EOF\na\nb\nEOF\nRUN cat <<-X && c <<'Y'\n\tin\n\tX\nz\nY\nCOPY <<-N <<\"M\" /d/\n\t$A \"q\"\nN\n$A\nM\n",
    );
    assert_eq!(run(&plan, 0).argv[2], "a\nb\n");
    assert_eq!(
        run(&plan, 1).argv[2],
        "cat <<-X && c <<'Y'\n\tin\nX\nz\nY\n"
    );
    let made = copy(&plan);
    let files: BTreeMap<&str, &str> = made
        .inline
        .iter()
        .map(|file| (file.name.as_str(), file.content.as_str()))
        .collect();
    assert_eq!(files, BTreeMap::from([("N", "1 \"q\"\n"), ("M", "$A\n")]));
    assert!(made.paths.is_empty());
}

#[test]
fn mounts_and_networks_of_a_command_are_read() {
    let plan = good(
        "FROM base AS tools\nFROM base\nWORKDIR /w\nRUN --network=none --mount=target=src,source=/a --mount=type=cache,target=/c,id=x,mode=0700 \
         --mount=type=tmpfs,target=/t,size=64m --mount=type=bind,from=tools,dst=/b,ro --mount=type=secret,id=s x\n",
    );
    let run = run(&plan, 0);
    assert!(!run.has_network);
    assert_eq!(run.argv[2], "x");
    assert_eq!(run.mounts.len(), 4, "a secret that may be missing is");
    assert_eq!(
        run.mounts[0],
        Mount {
            target: "/w/src".to_owned(),
            kind: MountKind::Bind {
                source: Source::Context,
                path: "/a".to_owned(),
                is_writable: false,
            }
        }
    );
    assert!(matches!(&run.mounts[1].kind, MountKind::Cache { id, mode: 0o700, .. } if id == "x"));
    assert_eq!(
        run.mounts[2].kind,
        MountKind::Tmpfs {
            size_bytes: Some(64 << 20)
        }
    );
    assert!(matches!(
        &run.mounts[3].kind,
        MountKind::Bind {
            source: Source::Stage(0),
            ..
        }
    ));
}

#[test]
fn what_is_recorded_is_in_the_configuration() {
    let plan = good(
        "FROM base\nLABEL a=1 \"b c\"='d'\nEXPOSE 80 90-91/UDP\nVOLUME /v [x]\nVOLUME [\"/w x\"]\nSTOPSIGNAL SIGINT\nUSER u:g\n\
         HEALTHCHECK --interval=1m30s --retries=2 CMD c d\nONBUILD RUN later\nMAINTAINER x\n",
    );
    let config = config(&plan);
    assert_eq!(config.labels["b c"], "d");
    let ports: Vec<&str> = config.exposed_ports.iter().map(String::as_str).collect();
    assert_eq!(ports, ["80/tcp", "90/udp", "91/udp"]);
    assert_eq!(config.volumes.len(), 3);
    assert_eq!(
        (config.stop_signal.as_str(), config.user.as_str()),
        ("SIGINT", "u:g")
    );
    let check = config.healthcheck.as_ref().expect("a check");
    assert_eq!((check.interval, check.retries), (90_000_000_000, 2));
    assert_eq!(check.test, ["CMD-SHELL", "c d"]);
    assert_eq!(config.on_build, ["RUN later"]);
    assert!(plan.stages[0].steps.is_empty());
}

#[test]
fn triggers_of_a_base_run_first_and_once() {
    let plan = good(
        "FROM base AS a\nONBUILD RUN t\nONBUILD ENV T=1\nFROM a AS b\nRUN own\nFROM b\nRUN last\n",
    );
    let commands: Vec<&str> = (0..3)
        .map(|number| run(&plan, number).argv[2].as_str())
        .collect();
    assert_eq!(commands, ["t", "own", "last"]);
    assert_eq!(run(&plan, 1).env["T"], "1");
}

#[test]
fn what_is_not_supported_is_refused_with_its_line() {
    for (text, line, words) in [
        ("", 1, "no FROM"),
        ("RUN x\n", 1, "must be FROM"),
        ("FROM base\nFOO x\n", 2, "FOO"),
        ("FROM base\n\n# c\nCOPY x\n", 4, "target"),
        ("FROM base\nCOPY https://x/y /z\n", 2, "ADD does"),
        ("FROM base\nENV U=http://x/y\nCOPY $U /z\n", 3, "ADD does"),
        ("FROM base\nADD https://x/ /z/\n", 2, "names no file"),
        ("FROM base\nADD https://x/.. /z/\n", 2, "names no file"),
        (
            "FROM base\nADD https://x/a?b /z/a https://x/b\n",
            2,
            "slash",
        ),
        (
            "FROM base\nADD --checksum=md5:00 https://x/y /z\n",
            2,
            "sha256:",
        ),
        (
            "FROM base\nADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 a /z\n",
            2,
            "only source",
        ),
        (
            "FROM base\nADD --checksum=sha256:0 https://x/y.git /z\n",
            2,
            "for files",
        ),
        (
            "FROM base\nADD --keep-git-dir https://x/y /z\n",
            2,
            "for repositories",
        ),
        ("FROM base\nADD --unpack=maybe https://x/y /z\n", 2, "maybe"),
        (
            "FROM base\nCOPY --keep-git-dir=true a /z\n",
            2,
            "--keep-git-dir",
        ),
        ("FROM base\nCOPY --chmod=u+x a /z\n", 2, "octal"),
        ("FROM base\nCOPY a b /z\n", 2, "slash"),
        ("FROM base\nRUN --security=insecure x\n", 2, "insecure"),
        ("FROM base\nRUN --network=host x\n", 2, "host"),
        (
            "FROM base\nRUN --mount=type=secret,id=s,required=true x\n",
            2,
            "no secret",
        ),
        (
            "FROM base\nRUN --mount=type=bind,target=/x,rw,ro x\n",
            2,
            "readonly or readwrite",
        ),
        (
            "FROM base\nRUN --mount=type=bind,nonsense=1,target=/x x\n",
            2,
            "nonsense",
        ),
        ("FROM base\nRUN <<E\nx\n", 2, "no end"),
        ("FROM base\nADD --parents a /x/\n", 2, "COPY has it"),
        ("FROM base\nCOPY --parents=maybe a /x/\n", 2, "maybe"),
        ("FROM base\nCOPY --exclude=[ a /x/\n", 2, "no pattern"),
        ("FROM base\nCOPY --exclude a /x/\n", 2, "needs a value"),
        (
            "FROM base\nCOPY --from=later x /y\nFROM base AS later\n",
            2,
            "later",
        ),
        ("FROM base\nCOPY --from=7 x /y\n", 2, "stage 7"),
        ("FROM none\n", 1, "none"),
        ("FROM $NONE\n", 1, "empty"),
        ("FROM base\nENV A=${A%x}\n", 2, "modifier"),
        ("FROM base\nONBUILD FROM x\n", 2, "ONBUILD"),
        ("FROM base\nONBUILD COPY --from=x a b\n", 2, "--from"),
        ("# syntax=example.com/other:1\nFROM base\n", 1, "syntax"),
        ("# escape=x\nFROM base\n", 1, "escape"),
        ("FROM base\nEXPOSE many\n", 2, "port"),
        ("FROM base\nSHELL x\n", 2, "list"),
        ("FROM base AS 1x\n", 1, "name"),
        ("FROM base\nUSER a b\n", 2, "user"),
    ] {
        let refusal = plan(text).expect_err(text);
        assert_eq!(refusal.line, line, "{text}: {refusal}");
        assert!(refusal.reason.contains(words), "{text}: {refusal}");
    }
}

#[test]
fn addresses_are_files_or_repositories() {
    let file = |name: &str| Fetched::File {
        name: name.to_owned(),
        checksum: None,
        unpacks: false,
    };
    let repository = |reference: Option<&str>, folder: &str| Fetched::Repository {
        reference: reference.map(str::to_owned),
        folder: folder.to_owned(),
        keeps_git_dir: false,
    };
    for (words, address, what) in [
        (
            "https://x/a/b.tar.gz",
            "https://x/a/b.tar.gz",
            file("b.tar.gz"),
        ),
        (
            "http://x/a%20b?c=d/e",
            "http://x/a%20b?c=d/e",
            file("a%20b"),
        ),
        (
            "https://u:p@x/y.git",
            "https://u:p@x/y.git",
            repository(None, "."),
        ),
        (
            "https://x/y.git#v1",
            "https://x/y.git",
            repository(Some("v1"), "."),
        ),
        (
            "https://x/y.git#:sub/../in",
            "https://x/y.git",
            repository(None, "in"),
        ),
        (
            "git@x:y#main:sub",
            "git@x:y",
            repository(Some("main"), "sub"),
        ),
        ("ssh://git@x/y", "ssh://git@x/y", repository(None, ".")),
    ] {
        let plan = good(&format!("FROM base\nADD {words} /to/\n"));
        let fetched = Fetch {
            address: address.to_owned(),
            what,
        };
        assert_eq!(copy(&plan).fetched, [fetched], "{words}");
    }
    let digest = "ab".repeat(32);
    let text = format!(
        "FROM base\nARG H=x/\nADD --checksum=sha256:{} --unpack --chown=1 https://${{H}}a /to\n",
        digest.to_uppercase()
    );
    let plan = good(&text);
    let copy = copy(&plan);
    assert_eq!(
        copy.fetched[0].what,
        Fetched::File {
            name: "a".to_owned(),
            checksum: Some(digest),
            unpacks: true
        }
    );
    assert!(copy.paths.is_empty() && !copy.is_folder);
    assert!(is_commit(&"0a".repeat(20)) && !is_commit("0a") && !is_commit(&"0g".repeat(20)));
}

#[test]
fn local_archives_are_unpacked_unless_told_otherwise() {
    assert!(copy(&good("FROM base\nADD a.tar /x\n")).unpacks);
    assert!(!copy(&good("FROM base\nADD --unpack=false a.tar /x\n")).unpacks);
    assert!(!copy(&good("FROM base\nCOPY a.tar /x\n")).unpacks);
}

#[test]
fn a_heredoc_that_names_its_reader_is_a_program_and_not_expanded() {
    let program = good("FROM base\nENV A=1\nRUN <<EOF\n#!/usr/bin/env python3\nprint('$A')\nEOF\n");
    let program = run(&program, 0);
    let script = program.script.as_ref().expect("a script");
    assert_eq!((script.name.as_str(), program.argv.len()), ("EOF", 0));
    assert_eq!(script.content, "#!/usr/bin/env python3\nprint('$A')\n");
    // A program in front reads it by itself, whatever stands in it.
    let piped = good("FROM base\nRUN python3 <<EOF\n#!/bin/sh\nEOF\n");
    let piped = run(&piped, 0);
    assert_eq!(piped.script, None);
    assert_eq!(piped.argv[2], "python3 <<EOF\n#!/bin/sh\nEOF\n");
}

#[test]
fn what_is_left_out_and_what_keeps_its_path_is_part_of_a_copy() {
    let text = "FROM base\nENV X=md\nCOPY --parents --exclude=*.log --exclude=**/*.$X ./a/./b/*.txt c /to\nCOPY a /b\n";
    let plan = good(text);
    let copies: Vec<_> = actions(&plan)
        .into_iter()
        .map(|action| match action {
            Action::Copy(copy) => copy,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(copies[0].paths, ["a/./b/*.txt", "c"]);
    assert_eq!(copies[0].excludes, ["*.log", "**/*.md"]);
    assert!(copies[0].keeps_path && copies[0].is_folder);
    assert!(!copies[1].keeps_path && !copies[1].is_folder);
    // Steps that were known before are known still.
    let known = serde_json::to_value(copies[1]).expect("plain data");
    assert_eq!(
        (known.get("keepsPath"), known.get("excludes")),
        (None, None)
    );
}

#[test]
fn nothing_grows_without_bound() {
    let mut text = "FROM base\nENV A=0123456789\n".to_owned();
    text.push_str(&"ENV A=$A$A\n".repeat(40));
    assert!(plan_error(&text).reason.contains("longer"));
    let many = format!("FROM base\n{}", "RUN x\n".repeat(201));
    assert!(plan_error(&many).reason.contains("200 steps"));
    let lines = format!("FROM base\n{}", "ENV A=1\n".repeat(2001));
    assert!(plan_error(&lines).reason.contains("2000 instructions"));
    // One line with many values, and values that come again with each stage and each step.
    let value = format!("FROM base\nARG A={}\n", "x".repeat(30_000));
    let labels = format!("{value}LABEL {}\n", "a=$A ".repeat(2_000));
    let files = format!("{value}COPY {} /x/\n", "$A ".repeat(2_000));
    let label = format!("{value}LABEL a=$A b=$A c=$A d=$A\n");
    let mut stages = label.replace("base", "base AS s0");
    for stage in 1..500 {
        writeln!(stages, "FROM s{} AS s{stage}", stage - 1).expect("memory");
    }
    let arguments: Vec<String> = (0..15).map(|n| format!("ARG A{n}=$A\n")).collect();
    let steps = format!("{value}{}{}", arguments.concat(), "RUN x\n".repeat(150));
    for text in [&labels, &files, &stages, &steps] {
        assert!(plan_error(text).reason.contains("values"));
    }
    assert!(plan(&label).is_ok());
    let long = format!("FROM base\n#{}\n", "x".repeat(1 << 20));
    assert!(plan_error(&long).reason.contains("longer"));
}

const WORDS: &str = r#"(FROM|RUN|COPY|ADD|ENV|ARG|LABEL|WORKDIR|USER|EXPOSE|ONBUILD|SHELL|HEALTHCHECK|CMD|ENTRYPOINT|VOLUME|base|scratch|AS|--from=|--mount=|type=|cache,|target=/x|<<E|E|\n|\n|\\\n|#|\$\{|\$A|\}|:-|=|"|'|\[|\]|,|/|80| )"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_is_planned_or_refused(words in prop::collection::vec(WORDS, 0..20)) {
        let text = format!("FROM base\n{}", words.join(" "));
        if let Err(refusal) = plan(&text) {
            prop_assert!(refusal.line >= 1 && refusal.line <= text.lines().count() + 1, "{refusal}");
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(text in "\\PC{0,300}") {
        let _ = plan(&text);
    }

    #[test]
    fn the_same_text_means_the_same(words in prop::collection::vec(WORDS, 0..20)) {
        let text = format!("FROM base\n{}", words.join(" "));
        prop_assert_eq!(plan(&text), plan(&text));
    }

    #[test]
    fn where_lines_are_cut_does_not_matter(words in prop::collection::vec("[a-z]{1,5}", 1..10), cuts in prop::collection::vec(any::<bool>(), 10)) {
        let plain = format!("FROM base\nENV {}=x\nRUN {}\n", words[0], words.join(" "));
        let mut cut = format!("FROM base\nENV {}=x\nRUN ", words[0]);
        for (word, cuts) in words.iter().zip(&cuts) {
            cut.push_str(word);
            cut.push_str(if *cuts { " \\\n" } else { " " });
        }
        let command = |text: &str| run(&good(text), 0).argv[2].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(command(&plain), command(&cut));
    }
}
