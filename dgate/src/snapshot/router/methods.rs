//! Sets of HTTP methods, small enough for each route to hold one.

use http::Method;

/// The methods of RFC 9110 §9 and PATCH, in the order `Allow` names them.
const STANDARD: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// A set of methods: bits for the standard ones, a list for the rest, or simply all there are.
///
/// `GET` does not imply `HEAD`: a set is what was written, and only [`Methods::all`] takes a
/// method that nobody named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Methods {
    all: bool,
    /// Bit *n* stands for `STANDARD[n]`.
    standard: u16,
    /// Sorted, without standard ones.
    others: Vec<Method>,
}

impl Methods {
    /// Every method, known or not.
    pub fn all() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Whether this is [`Methods::all`].
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Whether no method is in the set.
    pub fn is_empty(&self) -> bool {
        !self.all && self.standard == 0 && self.others.is_empty()
    }

    /// Whether the method is in the set.
    pub fn contains(&self, method: &Method) -> bool {
        self.all
            || match bit(method) {
                0 => self.others.contains(method),
                bit => self.standard & bit != 0,
            }
    }

    /// Adds a method.
    pub fn insert(&mut self, method: Method) {
        match bit(&method) {
            0 => {
                let place = self
                    .others
                    .binary_search_by(|other| other.as_str().cmp(method.as_str()));
                if let Err(place) = place {
                    self.others.insert(place, method);
                }
            }
            bit => self.standard |= bit,
        }
    }

    /// Adds the methods of another set.
    pub fn extend_from(&mut self, other: &Self) {
        self.all |= other.all;
        self.standard |= other.standard;
        for method in &other.others {
            self.insert(method.clone());
        }
    }

    /// The methods of both sets.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.extend_from(other);
        union
    }

    /// Whether some method is in both sets.
    pub fn overlaps(&self, other: &Self) -> bool {
        (self.all && !other.is_empty())
            || (other.all && !self.is_empty())
            || self.standard & other.standard != 0
            || self
                .others
                .iter()
                .any(|method| other.others.contains(method))
    }

    /// The value of an `Allow` header, `GET, HEAD, POST`; of all methods, the standard ones.
    pub fn allow_header(&self) -> String {
        let standard = STANDARD.iter().filter(|method| self.contains(method));
        let names: Vec<&str> = standard.chain(&self.others).map(Method::as_str).collect();
        names.join(", ")
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        let mut set = Self::default();
        methods.into_iter().for_each(|method| set.insert(method));
        set
    }
}

/// The bit of a standard method, 0 for another.
fn bit(method: &Method) -> u16 {
    match *method {
        Method::GET => 1,
        Method::HEAD => 1 << 1,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::PATCH => 1 << 4,
        Method::DELETE => 1 << 5,
        Method::OPTIONS => 1 << 6,
        Method::TRACE => 1 << 7,
        Method::CONNECT => 1 << 8,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Methods {
        names
            .iter()
            .map(|name| name.parse::<Method>().unwrap())
            .collect()
    }

    #[test]
    fn bits_stand_for_the_standard_methods() {
        for (at, method) in STANDARD.iter().enumerate() {
            assert_eq!(bit(method), 1 << at);
        }
    }

    #[test]
    fn sets_are_literal() {
        let read = set(&["GET"]);
        assert!(read.contains(&Method::GET) && !read.contains(&Method::HEAD));
        let purge: Method = "PURGE".parse().unwrap();
        assert!(set(&["PURGE"]).contains(&purge) && Methods::all().contains(&purge));
        assert!(!read.contains(&purge) && Methods::default().is_empty());
    }

    #[test]
    fn unions_and_overlaps() {
        let both = set(&["POST", "PURGE", "GET"]).union(&set(&["HEAD", "BAN", "PURGE"]));
        assert_eq!(both.allow_header(), "GET, HEAD, POST, BAN, PURGE");
        assert!(both.overlaps(&set(&["BAN"])) && both.overlaps(&Methods::all()));
        assert!(!set(&["GET"]).overlaps(&set(&["POST", "BAN"])));
        assert!(!Methods::all().overlaps(&Methods::default()));
        assert!(Methods::all().allow_header().starts_with("GET, HEAD, POST"));
    }
}
