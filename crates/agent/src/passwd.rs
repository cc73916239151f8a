//! Users and groups of the image, read from its own files.
//!
//! The agent is static and must not load the C library's name services, so it reads `/etc/passwd` and
//! `/etc/group` itself.

use std::path::PathBuf;

/// Who the agent and all that it starts run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, the primary one included.
    pub groups: Vec<u32>,
    /// Absent for a number that the image has no name for.
    pub name: Option<String>,
    pub home: Option<PathBuf>,
    pub shell: Option<String>,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

fn passwd_entries(passwd: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?;
        let shell = fields.next().unwrap_or_default();
        Some(PasswdEntry {
            name,
            uid,
            gid,
            home,
            shell,
        })
    })
}

fn group_entries(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// The number of a user, by name or by itself.
pub fn uid_of(passwd: &str, user: &str) -> Option<u32> {
    let named = passwd_entries(passwd).find(|entry| entry.name == user);
    named.map(|entry| entry.uid).or_else(|| user.parse().ok())
}

/// The number of a group, by name or by itself.
pub fn gid_of(group: &str, wanted: &str) -> Option<u32> {
    let named = group_entries(group).find(|(name, ..)| *name == wanted);
    named.map(|(_, gid, _)| gid).or_else(|| wanted.parse().ok())
}

/// Reads `name`, `uid`, `name:group` or `uid:gid` by the rules of the image's files. A number needs no entry.
pub fn resolve(spec: &str, passwd: &str, group: &str) -> Option<User> {
    let (wanted, wanted_group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let number = wanted.parse::<u32>().ok();
    let entry = passwd_entries(passwd)
        .find(|entry| entry.name == wanted)
        .or_else(|| passwd_entries(passwd).find(|entry| Some(entry.uid) == number));
    let uid = entry.as_ref().map(|entry| entry.uid).or(number)?;
    let gid = match wanted_group {
        Some(wanted) => gid_of(group, wanted)?,
        None => entry.as_ref().map_or(0, |entry| entry.gid),
    };
    let mut groups = vec![gid];
    // A group in the request replaces all of the user's groups, as container engines have it.
    if let (None, Some(entry)) = (wanted_group, &entry) {
        let of_user = group_entries(group)
            .filter(|(_, _, members)| members.split(',').any(|member| member == entry.name))
            .map(|(_, gid, _)| gid);
        groups.extend(of_user.filter(|other| *other != gid));
    }
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    Some(User {
        uid,
        gid,
        groups,
        name: entry.as_ref().map(|entry| entry.name.to_owned()),
        home: entry
            .as_ref()
            .and_then(|entry| text(entry.home))
            .map(PathBuf::from),
        shell: entry.as_ref().and_then(|entry| text(entry.shell)),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                          broken line\n\
                          daytona:x:1000:1000::/home/daytona:/bin/bash\n";
    const GROUP: &str = "root:x:0:\nsudo:x:27:daytona,other\ndaytona:x:1000:\nnobody:x:65534:\n";

    #[test]
    fn a_name_brings_its_groups_and_home() {
        let user = resolve("daytona", PASSWD, GROUP).unwrap();
        assert_eq!((user.uid, user.gid), (1000, 1000));
        assert_eq!(user.groups, [1000, 27]);
        assert_eq!(user.home, Some(PathBuf::from("/home/daytona")));
    }

    #[test]
    fn a_number_finds_its_entry_or_stands_alone() {
        assert_eq!(
            resolve("1000", PASSWD, GROUP),
            resolve("daytona", PASSWD, GROUP)
        );
        let alone = resolve("4711:12", PASSWD, GROUP).unwrap();
        assert_eq!((alone.uid, alone.gid, alone.name), (4711, 12, None));
    }

    #[test]
    fn a_group_in_the_request_wins() {
        let user = resolve("daytona:nobody", PASSWD, GROUP).unwrap();
        assert_eq!((user.gid, user.groups), (65534, vec![65534]));
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(resolve("ghost", PASSWD, GROUP), None);
        assert_eq!(resolve("daytona:ghosts", PASSWD, GROUP), None);
        assert_eq!(resolve("", PASSWD, GROUP), None);
    }
}
