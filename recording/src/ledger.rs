use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What became of every unit: accounts by name (`packets`, `bytes`, `sessions`, `requests`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger {
    accounts: BTreeMap<String, Account>,
}

/// Every unit that was seen was kept, or is counted under the name of what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Units that were seen, by a count of its own: not the sum of the others.
    pub seen: u64,
    /// Units that arrived where they should.
    pub kept: u64,
    /// Units that did not, by reason.
    pub lost: BTreeMap<String, u64>,
}

impl Ledger {
    /// What a live capture has not come to the end of.
    pub const UNDER_WAY: &str = "under way";
    const CUT_OFF: &str = "cut off";

    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.get(name)
    }

    pub fn account_mut(&mut self, name: &str) -> &mut Account {
        if !self.accounts.contains_key(name) {
            self.accounts.insert(name.to_owned(), Account::default());
        }
        self.accounts.entry(name.to_owned()).or_default()
    }

    pub fn accounts(&self) -> impl Iterator<Item = (&str, &Account)> {
        self.accounts
            .iter()
            .map(|(name, account)| (name.as_str(), account))
    }

    pub fn balanced(&self) -> bool {
        self.accounts.values().all(Account::balanced)
    }

    /// Counts under `reason` what is neither kept nor lost. Where parts were counted at different
    /// moments, and more arrived than was seen, it had been seen by then.
    pub fn balance(&mut self, reason: &str) {
        for account in self.accounts.values_mut() {
            let told = account.kept + account.lost.values().sum::<u64>();
            account.seen = account.seen.max(told);
            account.lose(reason, account.seen - told);
        }
    }

    /// What was under way when the writer was killed has no other end.
    pub(crate) fn cut_off(&mut self) {
        for account in self.accounts.values_mut() {
            account.lost.remove(Ledger::UNDER_WAY);
        }
        self.balance(Ledger::CUT_OFF);
    }

    /// Adds what another part of the same work counted.
    pub fn absorb(&mut self, other: Ledger) {
        for (name, account) in other.accounts {
            self.accounts.entry(name).or_default().absorb(account);
        }
    }
}

impl Account {
    /// Adds what another part of the same work counted.
    pub fn absorb(&mut self, other: Account) {
        self.seen += other.seen;
        self.kept += other.kept;
        for (reason, count) in other.lost {
            *self.lost.entry(reason).or_default() += count;
        }
    }

    pub fn lose(&mut self, reason: &str, count: u64) {
        if let Some(lost) = self.lost.get_mut(reason) {
            *lost += count;
        } else if count > 0 {
            self.lost.insert(reason.to_owned(), count);
        }
    }

    pub fn balanced(&self) -> bool {
        self.seen == self.kept + self.lost.values().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_only_when_each_unit_has_a_name() {
        let mut ledger = Ledger::default();
        let packets = ledger.account_mut("packets");
        packets.seen = 10;
        packets.kept = 7;
        packets.lose("kernel drop", 2);
        assert!(!ledger.balanced());
        ledger.account_mut("packets").lose("not TCP", 1);
        assert!(ledger.balanced());
    }

    #[test]
    fn what_is_not_told_yet_has_a_name() {
        let mut ledger = Ledger::default();
        for (name, seen, kept) in [("packets", 10, 7), ("requests", 3, 4)] {
            ledger.account_mut(name).seen = seen;
            ledger.account_mut(name).kept = kept;
        }
        ledger.balance("under way");
        assert!(ledger.balanced());
        let account = |name| ledger.account(name).cloned().unwrap_or_default();
        assert_eq!(account("packets").lost["under way"], 3);
        assert_eq!(
            (account("requests").seen, account("requests").lost.len()),
            (4, 0)
        );
    }

    #[test]
    fn absorbs_by_name() {
        let mut a = Ledger::default();
        a.account_mut("requests").seen = 2;
        a.account_mut("requests").kept = 1;
        a.account_mut("requests").lose("gap", 1);
        let mut sum = a.clone();
        sum.absorb(a);
        let requests = sum.account("requests").cloned().unwrap_or_default();
        assert_eq!((requests.seen, requests.kept), (4, 2));
        assert_eq!(requests.lost.get("gap"), Some(&2));
    }
}
