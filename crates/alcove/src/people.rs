//! How the server knows people and reaches them, as the operator says it.

use crate::mail::MailArguments;
use crate::oidc::OidcArguments;

#[derive(Debug, Clone, clap::Args)]
pub struct PeopleArguments {
    #[command(flatten)]
    pub oidc: OidcArguments,
    #[command(flatten)]
    pub mail: MailArguments,
}
