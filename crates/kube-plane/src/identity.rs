//! Who asks: a user and the groups he is in.

use std::sync::Arc;

/// The group that may do everything, whatever the roles say.
pub(crate) const MASTERS: &str = "system:masters";
/// Those whose work is for the users of a namespace: what they make counts against its quota.
pub(crate) const CONTROLLERS: &str = "system:controllers";
/// Everybody whose name is known.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Everybody whose name is not known.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";

const ANONYMOUS: &str = "system:anonymous";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: Arc<str>,
    pub(crate) groups: Arc<[String]>,
}

impl Default for Identity {
    /// In process: all rights.
    fn default() -> Self {
        Self { user: "system:in-process".into(), groups: Arc::new([MASTERS.to_owned()]) }
    }
}

impl Identity {
    /// Somebody with a name: the groups that follow from it are added.
    pub(crate) fn named(user: impl Into<Arc<str>>, mut groups: Vec<String>) -> Self {
        let user = user.into();
        if groups.is_empty()
            && let Some((namespace, _)) = service_account(&user)
        {
            groups.push(SERVICE_ACCOUNTS.to_owned());
            groups.push(format!("{SERVICE_ACCOUNTS}:{namespace}"));
        }
        let implied = if *user == *ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
            groups.push(implied.to_owned());
        }
        Self { user, groups: groups.into() }
    }

    /// Somebody who showed neither a certificate nor a token.
    pub(crate) fn anonymous() -> Self {
        Self::named(ANONYMOUS, Vec::new())
    }

    /// Who sends the bearer token of a server.
    pub(crate) fn of_token() -> Self {
        Self::named("token", vec![MASTERS.to_owned()])
    }

    /// Nobody knows who.
    pub(crate) fn is_anonymous(&self) -> bool {
        *self.user == *ANONYMOUS
    }

    /// A controller with all rights.
    pub(crate) fn controller(user: &str) -> Self {
        let groups = [MASTERS, CONTROLLERS, AUTHENTICATED].map(str::to_owned);
        Self { user: user.into(), groups: Arc::new(groups) }
    }

    /// Works for the users of a namespace.
    pub(crate) fn is_controller(&self) -> bool {
        self.groups.iter().any(|group| group == CONTROLLERS)
    }

    /// In the group that may do everything.
    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

/// Namespace and name of a service account by its user name.
pub(crate) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// The user name of a service account.
pub(crate) fn service_account_user(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT}{namespace}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_follow_from_the_name() {
        let groups = |user: &str, groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            Identity::named(user, groups).groups.join(" ")
        };
        assert_eq!(groups("jane", &["dev"]), "dev system:authenticated");
        assert_eq!(groups("jane", &[AUTHENTICATED]), AUTHENTICATED);
        assert_eq!(groups(ANONYMOUS, &[]), UNAUTHENTICATED);
        let account = "system:serviceaccount:capn-system:capn-manager";
        let implied = "system:serviceaccounts system:serviceaccounts:capn-system";
        assert_eq!(groups(account, &[]), format!("{implied} {AUTHENTICATED}"));
        assert_eq!(groups(account, &["dev"]), "dev system:authenticated");
        assert_eq!(groups("system:serviceaccount:a", &[]), AUTHENTICATED);
    }

    #[test]
    fn only_masters_are_masters() {
        assert!(Identity::default().is_master());
        assert!(!Identity::anonymous().is_master());
        assert!(!Identity::named(MASTERS, Vec::new()).is_master());
        assert!(Identity::controller("c").is_master() && Identity::controller("c").is_controller());
        assert!(!Identity::default().is_controller());
    }
}
