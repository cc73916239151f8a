//! What runners outside of the server ask for and tell: what is on them, their jobs, and how those ended.

use std::sync::Arc;

use alcove_control::{Caller, Error, Job, JobEnd, JobKind, JobStatus};
use alcove_domain::runner::{JobsAsked, WorkAsked};
use alcove_domain::{RunnerId, Sandbox, SandboxState, SandboxState as State};
use alcove_testkit::{TestControl, eventually, within};

use crate::runners::{Joined, make_there, with_runner};
use crate::support::*;

fn ids(sandboxes: &[Arc<Sandbox>]) -> Vec<&str> {
    sandboxes
        .iter()
        .map(|sandbox| sandbox.id.as_str())
        .collect()
}

#[tokio::test]
async fn a_runner_is_told_what_is_on_it_by_state() {
    let (kit, joined) = with_runner().await;
    make(&kit, "here").await;
    let (one, two) = (make_there(&kit, "one").await, make_there(&kit, "two").await);
    kit.control
        .stop_sandbox(&kit.caller, "two", false)
        .await
        .unwrap();
    let told = |states: &[SandboxState]| kit.control.sandboxes_of_runner(&joined.id, states, false);
    assert_eq!(ids(&told(&[])).len(), 2);
    assert_eq!(ids(&told(&[State::Started])), [one.id.as_str()]);
    assert_eq!(ids(&told(&[State::Stopped])), [two.id.as_str()]);
    let other = RunnerId::from_uuid(uuid::Uuid::from_u128(1));
    assert!(
        kit.control
            .sandboxes_of_runner(&other, &[], false)
            .is_empty()
    );
}

/// Whatever there is now.
const AT_ONCE: WorkAsked = WorkAsked {
    limit: None,
    timeout: Some(0),
};

fn list(kit: &TestControl, joined: &Joined) -> Vec<Job> {
    let all = JobsAsked::default();
    let found = kit.control.list_jobs(&joined.id, &all, |_| true);
    found.unwrap().jobs
}

fn completed() -> JobEnd {
    JobEnd::Completed {
        agent_version: Some("9.9".to_owned()),
    }
}

#[tokio::test]
async fn a_runner_that_is_away_can_ask_for_its_jobs_and_say_how_they_ended() {
    let (kit, mut joined) = with_runner().await;
    let sandbox = make_there(&kit, "box").await;
    assert!(list(&kit, &joined).is_empty());
    joined.leave().await;
    let stopping = tokio::spawn({
        let (control, caller): (_, Caller) = (kit.control.clone(), kit.caller.clone());
        async move { control.stop_sandbox(&caller, "box", false).await }
    });
    let asked = WorkAsked::default();
    let taken = kit.control.take_jobs(&joined.id, &asked);
    let jobs = within("a job", taken).await.unwrap();
    assert_eq!(jobs.len(), 1);
    let job = &jobs[0];
    assert_eq!(
        (job.kind, job.status),
        (JobKind::Stop, JobStatus::InProgress)
    );
    assert_eq!(job.sandbox.id, sandbox.id);
    let id = job.id.to_string();
    // It is given out once, and shown as long as it is open.
    let again = kit.control.take_jobs(&joined.id, &AT_ONCE).await.unwrap();
    assert!(again.is_empty());
    assert_eq!(kit.control.get_job(&joined.id, &id).unwrap().id, job.id);
    let done = kit
        .control
        .tell_job(&joined.id, &id, Some(completed()))
        .await;
    done.unwrap();
    within("the stop", stopping).await.unwrap().unwrap();
    becomes(&kit, &sandbox.id, State::Stopped).await;
    missing(kit.control.get_job(&joined.id, &id));
    let starting = tokio::spawn({
        let (control, caller) = (kit.control.clone(), kit.caller.clone());
        async move { control.start_sandbox(&caller, "box").await }
    });
    let asked = WorkAsked::default();
    let taken = kit.control.take_jobs(&joined.id, &asked);
    let id = within("a job", taken)
        .await
        .unwrap()
        .remove(0)
        .id
        .to_string();
    let done = kit
        .control
        .tell_job(&joined.id, &id, Some(completed()))
        .await;
    done.unwrap();
    let started = within("the start", starting).await.unwrap().unwrap();
    assert_eq!(started.state(), State::Started);
    assert_eq!(started.agent_version.as_deref(), Some("9.9"));
}

#[tokio::test]
async fn jobs_of_a_runner_that_is_there_are_answered_over_its_link_only() {
    let (kit, joined) = with_runner().await;
    make_there(&kit, "box").await;
    joined.host.hold_work();
    let stopping = tokio::spawn({
        let (control, caller) = (kit.control.clone(), kit.caller.clone());
        async move { control.stop_sandbox(&caller, "box", false).await }
    });
    eventually("there is a job", async || !list(&kit, &joined).is_empty()).await;
    let job = list(&kit, &joined).remove(0);
    assert_eq!(job.status, JobStatus::InProgress);
    let id = job.id.to_string();
    let told = kit.control.tell_job(&joined.id, &id, Some(completed()));
    let told = told.await;
    assert!(matches!(told, Err(Error::Conflict { .. })), "{told:?}");
    // Of another runner there is no such job.
    let other = RunnerId::from_uuid(uuid::Uuid::from_u128(1));
    missing(kit.control.get_job(&other, &id));
    joined.host.resume_work();
    within("the stop", stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_job_that_failed_leaves_the_reason_in_its_sandbox() {
    let (kit, mut joined) = with_runner().await;
    let sandbox = make_there(&kit, "box").await;
    kit.control
        .stop_sandbox(&kit.caller, "box", false)
        .await
        .unwrap();
    joined.leave().await;
    let starting = tokio::spawn({
        let (control, caller) = (kit.control.clone(), kit.caller.clone());
        async move { control.start_sandbox(&caller, "box").await }
    });
    let asked = WorkAsked::default();
    let taken = kit.control.take_jobs(&joined.id, &asked);
    let job = within("a job", taken).await.unwrap().remove(0);
    let end = JobEnd::Failed("no room".to_owned());
    let id = job.id.to_string();
    let told = kit.control.tell_job(&joined.id, &id, Some(end));
    told.await.unwrap();
    within("the start", starting).await.unwrap().unwrap_err();
    becomes(&kit, &sandbox.id, State::Error).await;
    let seen = get(&kit, "box").await.unwrap();
    assert_eq!(seen.error_reason().as_deref(), Some("no room"));
    assert!(seen.is_recoverable());
}

#[tokio::test]
async fn a_runner_says_what_a_sandbox_of_its_own_is_and_nothing_of_others() {
    let (kit, mut joined) = with_runner().await;
    let (here, there) = (make(&kit, "here").await, make_there(&kit, "there").await);
    joined.leave().await;
    let say = async |sandbox: &Sandbox, state| {
        let reason = Some("it died".to_owned());
        kit.control
            .note_sandbox_state(&joined.id, sandbox.id.as_str(), state, reason, true)
            .await
    };
    missing(say(&here, State::Stopped).await);
    assert!(matches!(
        say(&there, State::Archiving).await,
        Err(Error::Invalid { .. })
    ));
    say(&there, State::Stopped).await.unwrap();
    becomes(&kit, &there.id, State::Stopped).await;
    assert_eq!(state(&kit, &here.id).await, Some(State::Started));
}
