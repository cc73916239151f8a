//! The same Dockerfiles, built here and by buildah: the same files and the same configuration must come out.

use crate::judge::Judge;
use crate::support::{Case, TestBuilds};

fn cases() -> Vec<Case> {
    vec![
        Case::new("run in shell form", "FROM busybox\nRUN echo hi > /a && mkdir -p /d/e && chmod 750 /d\n"),
        Case::new(
            "run in exec form",
            "FROM busybox\nRUN [\"/bin/sh\", \"-c\", \"echo $HOME > /home-is\"]\nRUN [\"touch\", \"/x y\"]\n",
        ),
        Case::new("copy files and folders", "FROM busybox\nCOPY a.txt /a.txt\nCOPY dir /d\nCOPY a.txt b.txt /many/\nCOPY dir/f1 /deep/er/name\n")
            .file("a.txt", "a").file("b.txt", "b").file("dir/f1", "1").file("dir/sub/f2", "2").mode("dir/sub", 0o700),
        Case::new("copy by patterns", "FROM busybox\nCOPY *.txt /t/\nCOPY d?r/f[0-9] /u/\nCOPY [\"with space\", \"/v/\"]\n")
            .file("a.txt", "a").file("b.txt", "b").file("c.md", "c").file("dir/f1", "1").file("dir/fx", "x").file("with space", "s"),
        Case::new("copy with owner and mode", "FROM busybox\nCOPY --chown=1000:1001 a.txt /o/a\nCOPY --chmod=0600 b.txt /b\nCOPY --chown=7:8 dir /d\n")
            .file("a.txt", "a").file("b.txt", "b").file("dir/f", "f").mode("a.txt", 0o755),
        Case::new("variables", "FROM busybox\nENV A=1 B=\"x y\" C=$A\nENV OLD form value\nENV A=2 D=${A}3 E=${NONE:-else} F=${A:+yes}\nRUN echo \"$A $B $C $D $E $F $OLD\" > /e\nCOPY a-${A}.txt /\n")
            .file("a-2.txt", "two"),
        Case::new("arguments", "ARG BASE=busybox\nARG V=1\nFROM $BASE\nARG V\nARG W=w$V\nENV X=$W\nRUN echo \"$V $W ${NONE}\" > /args\n"),
        Case::new("working folders", "FROM busybox\nWORKDIR /w\nWORKDIR sub\nRUN pwd > p\nCOPY a.txt .\nCOPY a.txt name\nWORKDIR ../other\nRUN pwd > p\n").file("a.txt", "a"),
        Case::new("users", "FROM busybox\nRUN echo 'u:x:1234:1234::/home/u:/bin/sh' >> /etc/passwd && echo 'u:x:1234:' >> /etc/group && mkdir /open && chmod 777 /open\nUSER u\nRUN id > /open/id && touch /open/f\nUSER 77:88\nRUN touch /open/g\nUSER root\nCOPY --chown=u a.txt /c\n").file("a.txt", "a"),
        Case::new("stages", "FROM busybox AS one\nRUN mkdir /out && echo 1 > /out/x && chown 5:6 /out/x && ln -s x /out/l\nFROM busybox\nRUN echo 2 > /y\nFROM scratch\nCOPY --from=one /out /\nCOPY --from=1 /y /got/y\n"),
        Case::new("from a stage", "FROM busybox AS base\nENV A=1\nRUN echo base > /b\nFROM base\nRUN cat /b > /c && echo $A >> /c\n"),
        Case::new("scratch", "FROM scratch\nCOPY a.txt /\nCOPY dir /etc\nCMD [\"/a.txt\"]\n").file("a.txt", "a").file("dir/conf", "c"),
        Case::new("commands and shells", "FROM busybox\nCMD echo first\nENTRYPOINT [\"/bin/e\", \"x\"]\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo $0 > /shell\nCMD [\"c\", \"d\"]\n"),
        Case::new("entrypoint in shell form", "FROM busybox\nENTRYPOINT exec top -b\n"),
        Case::new("what is only recorded", "FROM busybox\nLABEL a=1 b=\"two words\" c.d='e'\nEXPOSE 80 443/tcp 53/udp\nSTOPSIGNAL SIGQUIT\nMAINTAINER someone\n"),
        Case::new("links in the context", "FROM busybox\nCOPY dir /d\nCOPY link.txt /followed\n")
            .file("dir/f", "f").link("dir/l", "f").link("dir/dangling", "/nowhere/at/all").link("dir/up", "../../../../etc/passwd").file("real.txt", "real").link("link.txt", "real.txt"),
        Case::new("removal", "FROM busybox\nRUN mkdir -p /x/y && touch /x/y/1 /x/2\nRUN rm -r /x/y && mkdir /x/y && touch /x/y/3\nRUN rm /x/2 && mkdir /gone && rmdir /gone\nRUN rm -rf /home\n"),
        Case::new("renamed folders", "FROM busybox\nRUN mkdir -p /p/q && echo 1 > /p/q/f\nRUN mv /p /r && mv /r/q /s\n"),
        Case::new("add unpacks archives", "FROM busybox\nADD a.tar /u/\nADD a.tar.gz /z\nADD plain.txt /plain/\nCOPY a.tar /kept/\n").archive("a.tar").archive("a.tar.gz").file("plain.txt", "p"),
        Case::new("dockerignore", "FROM busybox\nCOPY . /all/\n")
            .file(".dockerignore", "*.log\n!keep.log\nsub/*\n!sub/yes\n# comment\n").file("a.log", "1").file("keep.log", "2").file("sub/no", "3").file("sub/yes", "4").file("b", "5"),
        Case::new("what an image brings for those built on it", "FROM busybox AS base\nONBUILD RUN echo triggered > /t\nONBUILD ENV FROM_TRIGGER=1\nRUN echo not yet > /n\nFROM base\nRUN cat /t > /u\n"),
        Case::new("lines", "# comment\nFROM busybox\nRUN echo one \\\n  # a comment between\n  two \\\n\n  three > /lines\n   RUN echo indented > /i\nrun echo lower > /l\n"),
        Case::new("another escape", "# escape=`\nFROM busybox\nRUN echo a `\n  b > /joined\n"),
        Case::new("copy over what is there", "FROM busybox\nRUN mkdir -m 700 /d && echo old > /d/f && ln -s f /d/l && echo keep > /d/keep\nCOPY dir /d\nCOPY dir/f /d/l\n").file("dir/f", "new").file("dir/sub/g", "g"),
        Case::new("bits", "FROM busybox AS one\nRUN touch /s && chown 9:9 /s && chmod 6755 /s && mkdir -m 1777 /sticky && mkfifo /pipe\nFROM busybox\nCOPY --from=one /s /s2\nCOPY --from=one /sticky /st\n"),
    ]
}

#[tokio::test]
async fn the_same_dockerfiles_make_the_same_images_as_with_buildah() {
    let builds = TestBuilds::start().await;
    let judge = Judge::new();
    let mut differences = Vec::new();
    let only = std::env::var("ALCOVE_CASE").unwrap_or_default();
    let cases: Vec<Case> = cases()
        .into_iter()
        .filter(|case| case.name.contains(&only))
        .collect();
    for case in &cases {
        let context = case.write();
        let theirs = match judge.build(case, context.path()) {
            Ok(theirs) => theirs,
            Err(error) => {
                differences.push(format!("== {}: {error}", case.name));
                continue;
            }
        };
        let ours = builds.build(case, context.path()).await;
        let ours = match ours {
            Ok(ours) => ours,
            Err(error) => {
                differences.push(format!("== {}: {error}", case.name));
                continue;
            }
        };
        for line in theirs.differences(&ours) {
            differences.push(format!("== {}: {line}", case.name));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(only.is_empty() && cases.len() >= 20 || !cases.is_empty());
    builds.end().await;
}
