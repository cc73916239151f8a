//! `alcove bench lists`: how long a page takes among very many sandboxes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use alcove_domain::{
    Intervals, Lifecycle, NetworkPolicy, OrganizationId, Phase, Resources, Sandbox, SandboxClass,
    SandboxFilter, SandboxNetwork, SandboxSort, SandboxState, SortOrder,
};
use alcove_store::{SandboxCursor, Store};
use anyhow::Context;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::stats::Summary;
use super::{SCRATCH, Surroundings, exit_code, interrupted, scratch_folder, table};

/// Sandboxes written in one transaction.
const BATCH: u32 = 1000;
const PAGE: u64 = 100;
/// 2026-01-01, as the time of the first sandbox.
const EPOCH_S: i64 = 1_767_225_600;

#[derive(Debug, clap::Args)]
#[command(
    long_about = "Fills a database of its own with sandboxes of one organization, then asks for pages of 100: each \
    sort from its first page and from the middle, then filters that many, few and no sandboxes pass. What is \
    measured is the store: no HTTP, no control plane."
)]
pub struct Arguments {
    /// Sandboxes in the database.
    #[arg(long, short = 'n', default_value_t = 100_000)]
    sandboxes: u32,
    /// Pages of each kind.
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// An empty PostgreSQL database, instead of SQLite on a temporary folder. What is written stays there.
    #[arg(long)]
    database: Option<String>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    surroundings: Surroundings,
    database: &'static str,
    sandboxes: u32,
    fill_s: f64,
    pages: Vec<Measured>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    name: String,
    /// Sandboxes on each page.
    found: usize,
    #[serde(flatten)]
    summary: Option<Summary>,
}

/// One question, asked again and again.
struct Question {
    name: String,
    filter: SandboxFilter,
    sort: SandboxSort,
    order: SortOrder,
    form: Form,
}

enum Form {
    /// The first page by cursor.
    First,
    /// A page by cursor behind half of all.
    Middle,
    /// A page by number, with the total.
    Page { offset: u64 },
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let stop = interrupted()?;
    let surroundings = Surroundings::now();
    let folder = scratch_folder(Path::new(SCRATCH))?;
    let (store, database) = match &arguments.database {
        Some(url) => (Store::connect(url).await, "PostgreSQL"),
        None => (
            Store::open(&folder.path().join("alcove.db")).await,
            "SQLite",
        ),
    };
    let store = store.context("cannot open the database")?;
    let begun = Instant::now();
    fill(&store, arguments.sandboxes, &stop).await?;
    let mut report = Report {
        surroundings,
        database,
        sandboxes: arguments.sandboxes,
        fill_s: begun.elapsed().as_secs_f64(),
        pages: Vec::new(),
    };
    for question in questions(arguments.sandboxes) {
        if stop.is_cancelled() {
            break;
        }
        let measured = measure(&store, &question, &arguments, &stop).await?;
        report.pages.push(measured);
    }
    store.close().await;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!(
            "{} sandboxes on {}, written in {:.1} s",
            report.sandboxes, report.database, report.fill_s
        );
        let rows: Vec<(String, Option<&Summary>)> = report
            .pages
            .iter()
            .map(|page| {
                (
                    format!("{} ({})", page.name, page.found),
                    page.summary.as_ref(),
                )
            })
            .collect();
        let rows: Vec<(&str, Option<&Summary>)> = rows
            .iter()
            .map(|(name, summary)| (name.as_str(), *summary))
            .collect();
        print!("{}", table::summaries(&rows));
    }
    Ok(exit_code(&stop))
}

fn organization() -> anyhow::Result<OrganizationId> {
    "00000000-0000-4000-8000-000000000001"
        .parse()
        .context("an organization")
}

async fn fill(store: &Store, count: u32, stop: &CancellationToken) -> anyhow::Result<()> {
    let org = organization()?;
    for first in (0..count).step_by(usize::try_from(BATCH)?) {
        if stop.is_cancelled() {
            break;
        }
        let tx = store.begin().await.context("cannot write")?;
        for number in first..count.min(first + BATCH) {
            let sandbox = sandbox(number, &org)?;
            tx.sandbox_insert(&sandbox).await.context("cannot write")?;
        }
        tx.commit().await.context("cannot write")?;
    }
    Ok(())
}

/// One of many: like those of a fleet, of which most are stopped, some run and few are broken or old.
fn sandbox(number: u32, org: &OrganizationId) -> anyhow::Result<Sandbox> {
    // The same sandboxes on every run, in no order.
    let scattered = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let pick = |among: u64, salt: u32| (scattered >> salt) % among;
    let second = |second: u64| -> anyhow::Result<_> {
        jiff::Timestamp::from_second(EPOCH_S + i64::try_from(second)?).context("a time")
    };
    let created_at = second(u64::from(number))?;
    let last_activity_at = second(u64::from(number) + pick(500_000, 3))?;
    let mut lifecycle = Lifecycle::created(created_at);
    lifecycle.phase = match pick(100, 5) {
        0..10 => Phase::Started,
        _ => Phase::Stopped { fault: None },
    };
    let id = format!(
        "{:08x}-0000-4000-8000-{:012x}",
        number.reverse_bits(),
        scattered
    );
    let mut labels = BTreeMap::from([("code-toolbox-language".to_owned(), "python".to_owned())]);
    labels.insert("session".to_owned(), format!("s{}", pick(50_000, 7)));
    Ok(Sandbox {
        id: id.parse().context("an id")?,
        organization_id: org.clone(),
        name: format!("box-{number}"),
        snapshot_id: format!("00000000-0000-4000-8000-{:012x}", pick(20, 2))
            .parse()
            .context("an id")?,
        snapshot: format!("snapshot-{}", pick(20, 2)),
        image: "sha256:0000000000000000000000000000000000000000000000000000000000000000".to_owned(),
        entrypoint: Vec::new(),
        class: SandboxClass::Container,
        user: "daytona".to_owned(),
        env: BTreeMap::from([("PATH_TO_WORK".to_owned(), "/home/daytona/work".to_owned())]),
        labels,
        // So few that only the last way finds them, and none of them among the newest.
        is_public: number % 5_000 == 1,
        region: "us".to_owned(),
        resources: Resources {
            cpu_cores: 1 + u32::try_from(pick(4, 9))?,
            memory_gib: 1 + u32::try_from(pick(8, 11))?,
            disk_gib: 3,
            gpu: 0,
        },
        intervals: Intervals::default(),
        auto_destroy_at: None,
        stop_at: None,
        is_unfinished: false,
        network: SandboxNetwork::new(NetworkPolicy::default()),
        outbound_proxy: None,
        volumes: Vec::new(),
        parent_id: None,
        runner: None,
        linked_to: None,
        is_built: false,
        lifecycle,
        agent_version: Some("0.1.0".to_owned()),
        created_at,
        updated_at: last_activity_at,
        last_activity_at,
        version: 1,
    })
}

fn questions(count: u32) -> Vec<Question> {
    let all = SandboxFilter::default;
    let mut questions = Vec::new();
    let mut ask = |name: &str, filter: SandboxFilter, sort, order, form| {
        questions.push(Question {
            name: name.to_owned(),
            filter,
            sort,
            order,
            form,
        });
    };
    let (down, up) = (SortOrder::Descending, SortOrder::Ascending);
    let newest = SandboxSort::LastActivityAt;
    for (name, sort) in [
        ("lastActivityAt", newest),
        ("createdAt", SandboxSort::CreatedAt),
        ("name", SandboxSort::Name),
        ("cpu", SandboxSort::Cpu),
        ("memoryGib", SandboxSort::MemoryGib),
        ("diskGib", SandboxSort::DiskGib),
    ] {
        ask(
            &format!("sort {name}, first"),
            all(),
            sort,
            down,
            Form::First,
        );
        ask(
            &format!("sort {name}, middle"),
            all(),
            sort,
            up,
            Form::Middle,
        );
    }
    let label = |key: &str, value: &str| SandboxFilter {
        labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..all()
    };
    let filters = [
        ("a label of all", label("code-toolbox-language", "python")),
        ("a label of two", label("session", "s77")),
        ("a label of none", label("session", "none")),
        (
            "name of one",
            SandboxFilter {
                name_prefix: Some("box-777".to_owned()),
                ..all()
            },
        ),
        (
            "name of all",
            SandboxFilter {
                name_prefix: Some("BOX-".to_owned()),
                ..all()
            },
        ),
        (
            "id of few",
            SandboxFilter {
                id_prefix: Some("00f".to_owned()),
                ..all()
            },
        ),
        (
            "a tenth started",
            SandboxFilter {
                states: vec![SandboxState::Started],
                ..all()
            },
        ),
        (
            "none in error",
            SandboxFilter {
                states: vec![SandboxState::Error],
                ..all()
            },
        ),
        (
            "a twentieth of a snapshot",
            SandboxFilter {
                snapshots: vec!["snapshot-3".to_owned()],
                ..all()
            },
        ),
        (
            "20 public",
            SandboxFilter {
                is_public: Some(true),
                ..all()
            },
        ),
        (
            "none recoverable",
            SandboxFilter {
                is_recoverable: Some(true),
                ..all()
            },
        ),
        (
            "few large",
            SandboxFilter {
                min_cpu: Some(4),
                min_memory_gib: Some(8),
                is_public: Some(true),
                ..all()
            },
        ),
        (
            "made in an old hour",
            SandboxFilter {
                created_before: jiff::Timestamp::from_second(EPOCH_S + 3600).ok(),
                ..all()
            },
        ),
    ];
    for (name, filter) in filters {
        ask(&format!("filter {name}"), filter, newest, down, Form::First);
    }
    let deep = Form::Page {
        offset: u64::from(count) / 2,
    };
    ask(
        "page 1 with total",
        all(),
        SandboxSort::CreatedAt,
        down,
        Form::Page { offset: 0 },
    );
    ask(
        "page in the middle with total",
        all(),
        SandboxSort::CreatedAt,
        down,
        deep,
    );
    questions
}

async fn measure(
    store: &Store,
    question: &Question,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<Measured> {
    let org = organization()?;
    let reader = store.reader();
    let Question {
        filter,
        sort,
        order,
        ..
    } = question;
    let after = match question.form {
        Form::Middle => {
            let half = u64::from(arguments.sandboxes) / 2;
            let (page, _) = reader
                .sandbox_list_page(&org, filter, *sort, *order, half, 1)
                .await?;
            page.first().map(|place| SandboxCursor::of(place, *sort))
        }
        Form::First | Form::Page { .. } => None,
    };
    let mut samples: Vec<Duration> = Vec::with_capacity(arguments.rounds);
    let mut found = 0;
    // The first reads what the database has not in memory yet.
    for round in 0..=arguments.rounds {
        if stop.is_cancelled() {
            break;
        }
        let begun = Instant::now();
        let page = match question.form {
            Form::Page { offset } => {
                reader
                    .sandbox_list_page(&org, filter, *sort, *order, offset, PAGE)
                    .await?
                    .0
            }
            Form::First | Form::Middle => {
                reader
                    .sandbox_list_after(&org, filter, *sort, *order, after.as_ref(), PAGE)
                    .await?
            }
        };
        if round > 0 {
            samples.push(begun.elapsed());
        }
        found = page.len();
    }
    Ok(Measured {
        name: question.name.clone(),
        found,
        summary: Summary::of(&samples),
    })
}
