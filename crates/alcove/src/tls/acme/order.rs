//! One certificate from the authority, over kills: what is needed to go on is written down before it is used.

use std::time::Duration;

use alcove_server::Certificate;
use anyhow::Context;
use instant_acme::{
    Account, AuthorizationStatus, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::Acme;
use super::answer::Answer;
use super::record::{AccountRecord, CertificateRecord, OrderRecord};

/// How often and how long the authority is asked whether it has looked, and whether it has signed.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_mins(3));
/// The authority does not know the account any more.
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

impl Acme {
    /// A new certificate, kept.
    pub(super) async fn obtain(&self) -> anyhow::Result<CertificateRecord> {
        let obtained = self.order_one().await;
        let problem = obtained.as_ref().err().and_then(problem);
        if problem.is_some_and(|problem| problem == NO_ACCOUNT) {
            // The next try makes another.
            self.records.remove::<AccountRecord>()?;
            self.records.remove::<OrderRecord>()?;
        }
        obtained
    }

    async fn order_one(&self) -> anyhow::Result<CertificateRecord> {
        self.take_back_left().await?;
        let account = self.account().await?;
        let (mut order, mut record) = self.order(&account).await?;
        if order.state().status == OrderStatus::Pending {
            let answered = self.answer(&mut order, &mut record).await;
            self.take_back_left().await?;
            answered?;
        }
        if order.state().status == OrderStatus::Ready {
            order
                .finalize_csr(&request(&record)?)
                .await
                .context("the authority refuses to sign")?;
        }
        let chain = match order.state().status {
            OrderStatus::Invalid => {
                self.records.remove::<OrderRecord>()?;
                anyhow::bail!(
                    "the authority turned the order down: {}",
                    reasons(&mut order).await
                );
            }
            _ => order
                .poll_certificate(&PATIENCE)
                .await
                .context("the authority does not hand out the certificate")?,
        };
        Certificate::from_pem(chain.as_bytes(), record.key.as_bytes())
            .context("the authority's certificate cannot be used")?;
        let kept = CertificateRecord {
            directory: record.directory,
            names: record.names,
            chain,
            key: record.key,
        };
        // In this order: a kill in between has the next process fetch the same certificate once more.
        self.records.write(&kept)?;
        self.records.remove::<OrderRecord>()?;
        Ok(kept)
    }

    /// Takes away what this process, or one that was killed, had put into DNS.
    async fn take_back_left(&self) -> anyhow::Result<()> {
        let Some(mut record) = self.records.read::<OrderRecord>()? else {
            return Ok(());
        };
        if record.dns.is_empty() {
            return Ok(());
        }
        for left in std::mem::take(&mut record.dns) {
            // The authority does not mind it, and neither does the next order.
            if let Err(error) = self.answers.take_back(&Answer::Dns(left)).await {
                tracing::warn!("cannot take a DNS record away: {error:#}");
            }
        }
        self.records.write(&record)
    }

    async fn account(&self) -> anyhow::Result<Account> {
        let builder = || Account::builder_with_http(Box::new(self.client.clone()));
        let contact: Vec<&str> = self.settings.contact.as_deref().into_iter().collect();
        let kept = self.records.read::<AccountRecord>()?;
        let kept = kept.filter(|kept| kept.directory == self.settings.directory);
        let Some(kept) = kept else {
            let wanted = NewAccount {
                contact: &contact,
                terms_of_service_agreed: true,
                only_return_existing: false,
            };
            let directory = self.settings.directory.clone();
            let (account, credentials) = builder()
                .create(&wanted, directory.clone(), None)
                .await
                .context("the authority makes no account")?;
            self.records.write(&AccountRecord {
                directory,
                contact: self.settings.contact.clone(),
                credentials,
            })?;
            return Ok(account);
        };
        let account = builder()
            .from_credentials(kept.credentials)
            .await
            .context("the authority does not answer")?;
        if kept.contact != self.settings.contact
            && let Some(mut record) = self.records.read::<AccountRecord>()?
        {
            account
                .update_contacts(&contact)
                .await
                .context("the authority does not take the contact")?;
            record.contact.clone_from(&self.settings.contact);
            self.records.write(&record)?;
        }
        Ok(account)
    }

    /// The order that is under way, if it is one for the same names, else a new one.
    async fn order(&self, account: &Account) -> anyhow::Result<(Order, OrderRecord)> {
        let kept = self.records.read::<OrderRecord>()?.filter(|kept| {
            kept.directory == self.settings.directory && kept.names == self.settings.names
        });
        if let Some(kept) = kept {
            match account.order(kept.url.clone()).await {
                Ok(mut order) => {
                    // One that is over is not gone on with.
                    if order.state().status != OrderStatus::Invalid {
                        return Ok((order, kept));
                    }
                }
                Err(Error::Api(problem)) if is_about_the_order(&problem) => {}
                Err(error) => {
                    return Err(error).context("the authority does not tell of the order");
                }
            }
        }
        let names: Vec<Identifier> = self
            .settings
            .names
            .iter()
            .map(|name| Identifier::Dns(name.clone()))
            .collect();
        let key = KeyPair::generate().context("cannot make a key")?;
        let order = account
            .new_order(&NewOrder::new(&names))
            .await
            .context("the authority takes no order")?;
        let record = OrderRecord {
            directory: self.settings.directory.clone(),
            names: self.settings.names.clone(),
            url: order.url().to_owned(),
            key: key.serialize_pem(),
            dns: Vec::new(),
        };
        self.records.write(&record)?;
        Ok((order, record))
    }

    /// Shows the authority that the names are ours, and waits until it has looked.
    async fn answer(&self, order: &mut Order, record: &mut OrderRecord) -> anyhow::Result<()> {
        let mut given = Vec::new();
        let looked = async {
            self.give(order, record, &mut given).await?;
            order
                .poll_ready(&PATIENCE)
                .await
                .context("the authority did not look in time")
        }
        .await;
        for answer in &given {
            // Records are taken away by what is written down of them.
            if !matches!(answer, Answer::Dns(_)) {
                self.answers.take_back(answer).await?;
            }
        }
        match looked {
            Ok(_) => Ok(()),
            Err(error) => {
                let reasons = reasons(order).await;
                if reasons.is_empty() {
                    Err(error)
                } else {
                    Err(error.context(reasons))
                }
            }
        }
    }

    /// Gives all answers, then says so: a name and its wildcard have two records of one name, and who looks for the
    /// first must not remember that there was no other.
    async fn give(
        &self,
        order: &mut Order,
        record: &mut OrderRecord,
        given: &mut Vec<Answer>,
    ) -> anyhow::Result<()> {
        for is_said in [false, true] {
            let mut authorizations = order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization.context("the authority has no challenge")?;
                if authorization.status != AuthorizationStatus::Pending {
                    continue;
                }
                let name = match authorization.identifier().identifier {
                    Identifier::Dns(name) => name.clone(),
                    other => anyhow::bail!("the authority asks about {other:?}"),
                };
                let kind = self.answers.kind();
                let mut challenge = authorization
                    .challenge(kind.clone())
                    .with_context(|| format!("the authority does not offer {kind:?} for {name}"))?;
                if is_said {
                    let ready = challenge.set_ready().await;
                    ready.with_context(|| format!("the authority does not look at {name}"))?;
                    continue;
                }
                let key = challenge.key_authorization();
                if let Some(dns) = self.answers.record(&name, &key) {
                    record.dns.push(dns);
                    self.records.write(record)?;
                }
                let token = challenge.token.clone();
                given.push(self.answers.give(&name, &token, &key).await?);
            }
        }
        Ok(())
    }
}

/// Whether the authority means this order, rather than the account, or the moment.
fn is_about_the_order(problem: &Problem) -> bool {
    matches!(problem.status, Some(400..=404)) && problem.r#type.as_deref() != Some(NO_ACCOUNT)
}

/// The request to sign the order's key for its names.
fn request(record: &OrderRecord) -> anyhow::Result<Vec<u8>> {
    let key = KeyPair::from_pem(&record.key).context("cannot read the key of the order")?;
    let mut params = CertificateParams::new(record.names.clone())
        .context("a name cannot stand in a certificate")?;
    params.distinguished_name = DistinguishedName::new();
    let request = params
        .serialize_request(&key)
        .context("cannot make the request for a certificate")?;
    Ok(request.der().to_vec())
}

/// What the authority found wrong.
async fn reasons(order: &mut Order) -> String {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else {
            continue;
        };
        let _ = authorization.refresh().await;
        let name = authorization.identifier().to_string();
        let problems = authorization.challenges.iter();
        for problem in problems.filter_map(|challenge| challenge.error.as_ref()) {
            let detail = problem.detail.as_deref().unwrap_or("it gives no reason");
            reasons.push(format!("{name}: {detail}"));
        }
    }
    reasons.join("; ")
}

/// What kind of problem the authority tells of, if it does.
fn problem(error: &anyhow::Error) -> Option<&str> {
    error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(Error::Api(problem)) => problem.r#type.as_deref(),
        _ => None,
    })
}
