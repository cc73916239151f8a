//! What the host of a runner can do.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Something that sandboxes may need and not every host can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Capability {
    /// Holding all processes of a sandbox where they are.
    Pause,
    /// Copies of disks that share what is the same. Without it they take longer and more room; nothing needs it.
    Reflink,
    /// Letting a sandbox reach less than all others do.
    NetworkPolicies,
    /// Volumes of the server, mounted into sandboxes.
    Volumes,
    /// Snapshots of sandboxes.
    Snapshots,
    /// Images from Dockerfiles.
    Builds,
}

impl Capability {
    pub const ALL: [Self; 6] = [
        Self::Pause,
        Self::Reflink,
        Self::NetworkPolicies,
        Self::Volumes,
        Self::Snapshots,
        Self::Builds,
    ];

    /// In the API's words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Reflink => "reflink",
            Self::NetworkPolicies => "networkPolicies",
            Self::Volumes => "volumes",
            Self::Snapshots => "snapshots",
            Self::Builds => "builds",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }

    /// In a sentence for callers.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Pause => "pausing",
            Self::Reflink => "copies that share blocks",
            Self::NetworkPolicies => "limits on the network",
            Self::Volumes => "volumes",
            Self::Snapshots => "snapshots of sandboxes",
            Self::Builds => "builds",
        }
    }

    /// Whether it is done with files that are on the server's host and nowhere else. Whatever another host says of itself,
    /// those are not there.
    const fn is_of_server(self) -> bool {
        match self {
            Self::Volumes | Self::Snapshots | Self::Builds => true,
            Self::Pause | Self::Reflink | Self::NetworkPolicies => false,
        }
    }
}

/// What a host said that it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Of its processors, such as `x86_64`.
    pub architecture: String,
    pub can: BTreeSet<Capability>,
}

impl Capabilities {
    /// What is left of it on a runner outside of the server.
    #[must_use]
    pub fn outside_of_server(mut self) -> Self {
        self.can.retain(|capability| !capability.is_of_server());
        self
    }
}

/// What a sandbox needs of its host, beside room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    pub capabilities: BTreeSet<Capability>,
    /// Of the image. None if it is not known.
    pub architecture: Option<String>,
}

impl super::Runner {
    /// One that has not said what it can do is taken for one from before runners did.
    pub fn can(&self, capability: Capability) -> bool {
        match &self.capabilities {
            Some(said) => said.can.contains(&capability),
            None => self.is_built_in || !capability.is_of_server(),
        }
    }

    fn has_architecture(&self, wanted: &str) -> bool {
        let said = self.capabilities.as_ref();
        said.is_none_or(|said| said.architecture == wanted)
    }
}

impl Needs {
    /// What none of these runners has: in words, for the refusal. None if at least one has all of it, and for no runners.
    pub fn missing<'a>(
        &self,
        runners: impl IntoIterator<Item = &'a super::Runner>,
    ) -> Option<String> {
        let fewest = runners
            .into_iter()
            .map(|runner| self.missing_on(runner))
            .min_by_key(Vec::len)?;
        (!fewest.is_empty()).then(|| fewest.join(" and "))
    }

    pub(super) fn are_met_by(&self, runner: &super::Runner) -> bool {
        self.missing_on(runner).is_empty()
    }

    fn missing_on(&self, runner: &super::Runner) -> Vec<String> {
        let lacking = self.capabilities.iter();
        let lacking = lacking.filter(|capability| !runner.can(**capability));
        let mut words: Vec<String> = lacking
            .map(|capability| capability.in_words().to_owned())
            .collect();
        if let Some(wanted) = &self.architecture
            && !runner.has_architecture(wanted)
        {
            words.push(format!("images for {wanted}"));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_a_word_of_its_own_that_is_read_again() {
        let words: BTreeSet<_> = Capability::ALL.map(Capability::as_str).into();
        assert_eq!(words.len(), Capability::ALL.len());
        for capability in Capability::ALL {
            assert_eq!(Capability::parse(capability.as_str()), Some(capability));
        }
        assert_eq!(Capability::parse("flying"), None);
    }

    #[test]
    fn what_a_host_outside_of_the_server_says_of_the_servers_files_counts_for_nothing() {
        let said = Capabilities {
            architecture: "x86_64".to_owned(),
            can: Capability::ALL.into(),
        };
        let left = said.outside_of_server().can;
        assert_eq!(
            left.into_iter().collect::<Vec<_>>(),
            [
                Capability::Pause,
                Capability::Reflink,
                Capability::NetworkPolicies
            ]
        );
    }
}
