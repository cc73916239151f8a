//! What an action is, and how one is carried out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use alcove_api_types::actions::ActionDescription;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::api::Api;
use crate::failure::Failure;
use crate::input::Fields;
use crate::room::{Held, Room, out_of_time};
use crate::schema::{self, Shape};

/// What an action does to the world, for those who let a machine choose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Reads,
    Changes,
    /// What it takes away is gone.
    Destroys,
}

/// Where an action is carried out.
pub(crate) struct Context<'a> {
    pub api: &'a dyn Api,
    pub room: &'a Room,
}

/// How long an action may take that is none of the long ones.
const USUAL_LIMIT: Duration = Duration::from_mins(1);

/// One action: its input is the value itself.
pub(crate) trait Action: Sized + Send + 'static {
    const NAME: &'static str;
    const ABOUT: &'static str;
    const EFFECT: Effect;
    /// Whether doing it again changes nothing more.
    const IS_IDEMPOTENT: bool;
    /// The fields of the output beside `success` and `error`.
    const OUTPUT: &'static [(&'static str, Shape)];

    /// The default is what a failure has.
    type Output: Serialize + Default + Send;

    fn read(fields: &mut Fields) -> Self;

    fn limit(&self) -> Duration {
        USUAL_LIMIT
    }

    fn run(
        self,
        context: Context<'_>,
    ) -> impl Future<Output = Result<(Self::Output, Option<Held>), Failure>> + Send;
}

/// What came of an action.
#[derive(Debug)]
pub struct Outcome {
    pub success: bool,
    /// What the API said, or would have said of the input; for logs.
    pub status: StatusCode,
    /// The output object as text.
    pub json: String,
    /// The memory that a large output takes; to be kept as long as the text is.
    pub held: Option<Held>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// An action of the catalogue.
#[derive(Clone, Copy)]
pub struct Entry {
    pub name: &'static str,
    pub effect: Effect,
    pub is_idempotent: bool,
    describe: fn() -> ActionDescription,
    call: for<'a> fn(Value, &'a dyn Api, &'a Room) -> Running<'a>,
    refuse: fn(&Failure) -> Outcome,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Entry").field(&self.name).finish()
    }
}

impl Entry {
    pub(crate) const fn of<A: Action>() -> Self {
        Self {
            name: A::NAME,
            effect: A::EFFECT,
            is_idempotent: A::IS_IDEMPOTENT,
            describe: describe::<A>,
            call: |input, api, room| Box::pin(call::<A>(input, api, room)),
            refuse: refused::<A>,
        }
    }

    pub fn describe(&self) -> ActionDescription {
        (self.describe)()
    }

    /// Carries the action out. Dropping the future gives it up.
    pub async fn call(&self, input: Value, api: &dyn Api, room: &Room) -> Outcome {
        (self.call)(input, api, room).await
    }

    /// The output for an input that is no JSON.
    pub fn not_json(&self) -> Outcome {
        (self.refuse)(&Failure::invalid("the input must be a JSON object"))
    }
}

fn describe<A: Action>() -> ActionDescription {
    let mut fields = Fields::default();
    A::read(&mut fields);
    ActionDescription {
        name: A::NAME.to_owned(),
        title: schema::title(A::NAME),
        description: A::ABOUT.to_owned(),
        input_schema: schema::input(A::NAME, &fields.declared()),
        output_schema: schema::output(A::NAME, A::OUTPUT),
    }
}

async fn call<A: Action>(input: Value, api: &dyn Api, room: &Room) -> Outcome {
    let Value::Object(given) = input else {
        return refused::<A>(&Failure::invalid("the input must be a JSON object"));
    };
    match carried_out::<A>(given, Context { api, room }).await {
        Ok((output, held)) => outcome(
            &Envelope {
                success: true,
                error: None,
                output,
            },
            StatusCode::OK,
            held,
        ),
        Err(failure) => refused::<A>(&failure),
    }
}

async fn carried_out<A: Action>(
    given: Map<String, Value>,
    context: Context<'_>,
) -> Result<(A::Output, Option<Held>), Failure> {
    let mut fields = Fields::of(given);
    let action = A::read(&mut fields);
    let reasons = fields.into_reasons();
    if !reasons.is_empty() {
        return Err(Failure::invalid(reasons.join(", ")));
    }
    let limit = action.limit();
    match timeout(limit, action.run(context)).await {
        Ok(done) => done,
        Err(_) => Err(out_of_time(limit.as_secs())),
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    success: bool,
    error: Option<&'a str>,
    #[serde(flatten)]
    output: T,
}

fn refused<A: Action>(failure: &Failure) -> Outcome {
    let envelope = Envelope {
        success: false,
        error: Some(&failure.message),
        output: A::Output::default(),
    };
    outcome(&envelope, failure.status, None)
}

fn outcome<T: Serialize>(
    envelope: &Envelope<'_, T>,
    status: StatusCode,
    held: Option<Held>,
) -> Outcome {
    Outcome {
        success: envelope.success,
        status,
        json: serde_json::to_string(envelope).expect("texts, numbers and their objects"),
        held,
    }
}
