//! Identity of a requester: the user and their groups.

use std::sync::Arc;

/// The group with all permissions, regardless of roles.
pub(crate) const MASTERS: &str = "system:masters";
/// Controllers that act for the users of a namespace: their objects count against its quota.
pub(crate) const CONTROLLERS: &str = "system:controllers";
/// All authenticated users.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// All unauthenticated users.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";

const ANONYMOUS: &str = "system:anonymous";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Identity of a requester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: Arc<str>,
    pub(crate) groups: Arc<[String]>,
}

impl Default for Identity {
    /// In-process requests: all permissions.
    fn default() -> Self {
        Self { user: "system:in-process".into(), groups: Arc::new([MASTERS.to_owned()]) }
    }
}

impl Identity {
    /// Creates a user, with the groups that follow from the name.
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

    /// Creates a request without a certificate or a token.
    pub(crate) fn anonymous() -> Self {
        Self::named(ANONYMOUS, Vec::new())
    }

    /// Returns the identity of the server's bearer token.
    pub(crate) fn of_token() -> Self {
        Self::named("token", vec![MASTERS.to_owned()])
    }

    /// Returns whether the user is unauthenticated.
    pub(crate) fn is_anonymous(&self) -> bool {
        *self.user == *ANONYMOUS
    }

    /// Creates a controller with all permissions.
    pub(crate) fn controller(user: &str) -> Self {
        let groups = [MASTERS, CONTROLLERS, AUTHENTICATED].map(str::to_owned);
        Self { user: user.into(), groups: Arc::new(groups) }
    }

    /// Returns whether it is a controller that acts for users of a namespace.
    pub(crate) fn is_controller(&self) -> bool {
        self.groups.iter().any(|group| group == CONTROLLERS)
    }

    /// Returns whether it is in the group with all permissions.
    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

/// Returns the namespace and name of a service account, from its user name.
pub(crate) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// Returns the user name of a service account.
pub(crate) fn service_account_user(namespace: &str, name: &str) -> String {
    format!("{SERVICE_ACCOUNT}{namespace}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_account_groups_follow_from_the_name() {
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
    fn only_the_masters_group_is_privileged() {
        assert!(Identity::default().is_master());
        assert!(!Identity::anonymous().is_master());
        assert!(!Identity::named(MASTERS, Vec::new()).is_master());
        assert!(Identity::controller("c").is_master() && Identity::controller("c").is_controller());
        assert!(!Identity::default().is_controller());
    }
}
