//! Every route asked by everybody: nobody, somebody with a bad or an expired key, with a key that lacks what the route asks
//! for, a member without rights, somebody of another organization, an owner while the organization is suspended, and at
//! last whoever may.
//!
//! `matrix.json` has a row for each route. What is asked with is made from the row, so a row says what must be, and a route
//! without a row fails.

mod place;

use std::collections::BTreeSet;

use alcove_server::{VERCEL_ROUTES, all_routes};
use serde_json::{Value, json};

use self::place::{Place, ask};
use crate::support::Answer;

/// What a route wants of who asks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asks {
    /// Nothing: everybody may.
    Nothing,
    /// What is in the body to be right.
    Body,
    /// Any credential.
    Anybody,
    /// One of these permissions.
    Permission(Vec<String>),
    /// A credential that stands for its whole user.
    User,
    /// A credential that stands for its whole user, or may manage keys.
    Keys,
    /// An owner of the organization.
    Owner,
    /// The administrator of the server.
    Administrator,
    /// The one who is invited.
    Invited,
    /// One who signed in, with the cookie.
    Session,
    /// A program with a credential of this role, and nobody else.
    Service(String),
    /// A runner, by its key.
    Runner,
    /// A proxy that is no part of the server, by its key.
    Proxy,
}

#[derive(Debug, Clone, serde::Deserialize)]
struct Row {
    /// Method and path.
    route: String,
    asks: Asks,
    /// What is sent; nothing unless said.
    #[serde(default)]
    body: Value,
    /// What whoever may is answered.
    answers: u16,
    /// Whether a suspended organization may not.
    #[serde(default)]
    makes: bool,
    /// Whether the path names nothing that is an organization's own, so that there is nothing to hide from others.
    #[serde(default)]
    shared: bool,
    /// What stands behind the path.
    #[serde(default)]
    query: String,
    /// Whether it needs a place where nothing was done yet.
    #[serde(default)]
    fresh: bool,
}

fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("matrix.json")).unwrap()
}

/// Ways into a sandbox, which are no routes of the router.
const PROXIED: [&str; 3] = [
    "get /toolbox/{sandboxIdOrName}/files",
    "get /api/toolbox/{sandboxIdOrName}/toolbox/files",
    "get /api/toolbox/{workspaceId}/toolbox/project-dir",
];

/// Method and path of everything that is asked.
fn routes() -> BTreeSet<String> {
    let routed = all_routes().chain(VERCEL_ROUTES);
    let routed = routed.map(|route| format!("{} {}", route.method, route.path));
    routed.chain(PROXIED.map(str::to_owned)).collect()
}

#[test]
fn every_route_has_one_row_and_every_row_a_route() {
    let rows: Vec<String> = rows().into_iter().map(|row| row.route).collect();
    let set: BTreeSet<&String> = rows.iter().collect();
    assert_eq!(set.len(), rows.len(), "a row twice");
    let routes = routes();
    let missing: Vec<_> = routes.iter().filter(|route| !set.contains(route)).collect();
    let unknown: Vec<_> = rows.iter().filter(|row| !routes.contains(*row)).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "without a row: {missing:#?}\nwithout a route: {unknown:#?}"
    );
}

/// A body and a path in which names stand for what there is in the place.
struct Question<'a> {
    row: &'a Row,
    method: &'a str,
    path: String,
    body: Value,
}

impl<'a> Question<'a> {
    fn of(row: &'a Row, place: &Place) -> Self {
        let (method, path) = row.route.split_once(' ').expect("a method and a path");
        let body = place.resolve(&row.body.to_string());
        Self {
            row,
            method,
            path: place.resolve(path) + &place.resolve(&row.query),
            body: serde_json::from_str(&body).unwrap(),
        }
    }

    async fn put(&self, place: &Place, key: Option<&str>) -> Answer {
        ask(&place.server, key, self.method, &self.path, &self.body).await
    }

    /// What is wrong with the answer, if anything is.
    async fn miss(
        &self,
        place: &Place,
        who: &str,
        key: Option<&str>,
        status: u16,
    ) -> Option<String> {
        let answer = self.put(place, key).await;
        let text: String = answer.text.chars().take(400).collect();
        (answer.status != status).then(|| {
            let route = &self.row.route;
            format!(
                "{route} asked by {who}: {} and not {status}: {text}",
                answer.status.as_u16()
            )
        })
    }
}

/// All of the matrix is looked at before the test fails.
fn assert_none(misses: &[String]) {
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[tokio::test]
async fn who_has_no_valid_credential_is_told_so_and_nothing_else() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    for row in rows() {
        let question = Question::of(&row, &place);
        let status = match row.asks {
            Asks::Nothing | Asks::Body => row.answers,
            _ => 401,
        };
        for (who, key) in [
            ("nobody", None),
            ("a key that is none", Some("dtn_no_such_key")),
            ("an expired key", Some(place.expired.as_str())),
        ] {
            misses.extend(question.miss(&place, who, key, status).await);
        }
    }
    assert_none(&misses);
}

#[tokio::test]
async fn a_key_opens_nothing_that_was_left_out_of_it() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    let narrow = place.key_without(&place.owner, &[]).await;
    let administrators = place.key_without(&place.server.kit.key, &[]).await;
    for row in rows() {
        let question = Question::of(&row, &place);
        let lacking = match &row.asks {
            Asks::Permission(permissions) => place.key_without(&place.owner, permissions).await,
            Asks::Keys => {
                let without = ["manage:api_keys".to_owned()];
                place.key_without(&place.owner, &without).await
            }
            Asks::User | Asks::Owner => narrow.clone(),
            Asks::Administrator => administrators.clone(),
            Asks::Runner | Asks::Proxy | Asks::Service(_) => place.owner.clone(),
            Asks::Nothing | Asks::Body | Asks::Anybody | Asks::Invited | Asks::Session => continue,
        };
        let who = "a key without the permission";
        misses.extend(question.miss(&place, who, Some(&lacking), 403).await);
    }
    assert_none(&misses);
}

#[tokio::test]
async fn a_member_without_roles_does_nothing_that_a_role_or_an_owner_is_needed_for() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    for row in rows() {
        let question = Question::of(&row, &place);
        if matches!(
            row.asks,
            Asks::Permission(_)
                | Asks::Owner
                | Asks::Administrator
                | Asks::Service(_)
                | Asks::Runner
                | Asks::Proxy
        ) {
            let key = Some(place.member.as_str());
            misses.extend(question.miss(&place, "a member", key, 403).await);
        }
    }
    assert_none(&misses);
}

#[tokio::test]
async fn what_is_another_organizations_is_not_there() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    let named = rows().into_iter();
    for row in named.filter(|row| row.route.contains('{') && !row.shared) {
        let question = Question::of(&row, &place);
        let status = match row.asks {
            Asks::Administrator | Asks::Runner | Asks::Proxy => 403,
            Asks::Nothing | Asks::Body => continue,
            _ => 404,
        };
        let key = Some(place.stranger.as_str());
        misses.extend(question.miss(&place, "a stranger", key, status).await);
    }
    assert_none(&misses);
}

#[tokio::test]
async fn a_suspended_organization_makes_and_starts_nothing_and_reads_all() {
    let place = Place::make().await;
    let mut misses = Vec::new();
    let path = format!("/api/organizations/{}/suspend", place.organization);
    let body = json!({"reason": "unpaid"});
    let key = Some(place.server.kit.key.as_str());
    let suspended = ask(&place.server, key, "post", &path, &body).await;
    assert_eq!(suspended.status, 204, "{}", suspended.text);
    for row in rows() {
        let question = Question::of(&row, &place);
        let owner = Some(place.owner.as_str());
        let reads = question.method == "get" && matches!(row.asks, Asks::Anybody);
        if row.makes || reads {
            let status = if row.makes { 403 } else { row.answers };
            misses.extend(question.miss(&place, "an owner", owner, status).await);
        }
    }
    assert_none(&misses);
}

/// The rows are a story: each leaves what the ones after it need.
#[tokio::test]
async fn whoever_may_is_served() {
    let mut place = Place::make().await;
    let mut misses = Vec::new();
    for row in rows() {
        if row.fresh {
            place = Place::make().await;
        }
        let question = Question::of(&row, &place);
        let key = match &row.asks {
            Asks::Administrator => place.server.kit.key.clone(),
            Asks::Invited => place.invited.clone(),
            Asks::Service(role) => crate::services::credential(&place.server, role).await,
            Asks::Runner => place.runner.clone(),
            Asks::Proxy => place.proxy.clone(),
            _ => place.owner.clone(),
        };
        let who = "whoever may";
        misses.extend(question.miss(&place, who, Some(&key), row.answers).await);
    }
    assert_none(&misses);
}
