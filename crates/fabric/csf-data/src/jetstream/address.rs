//! URLs of NATS servers: what is connected to, who logs in, and what may be printed.
//!
//! Reference: RFC 3986, section 3.2.1 for `user:password@` and section 2.1 for its escapes.

use async_nats::ServerAddr;

/// Who logs in. Never printed.
#[derive(PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Login {
    Token(String),
    User(String, String),
}

/// The servers, and who logs in with them: what the first URL with a user says.
pub(super) fn parse(urls: &str) -> Result<(Vec<ServerAddr>, Option<Login>), String> {
    // The library names what is wrong, and of the URL at most the scheme.
    let parse = |url: &str| url.trim().parse::<ServerAddr>().map_err(|e| e.to_string());
    let servers = urls.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
    let login = servers.iter().find_map(|server| {
        let user = unescaped(server.username()?);
        Some(match server.password() {
            None => Login::Token(user),
            Some(password) => Login::User(user, unescaped(password)),
        })
    });
    Ok((servers, login))
}

/// The URLs without users, passwords and tokens: of each, everything up to its last `@` is left out, except the scheme.
pub(super) fn without_credentials(urls: &str) -> String {
    let without = |url: &str| {
        let (scheme, rest) =
            url.split_once("://").map_or(("", url), |(_, rest)| (&url[..url.len() - rest.len()], rest));
        format!("{scheme}{}", rest.rsplit_once('@').map_or(rest, |(_, address)| address))
    };
    urls.split(',').map(without).collect::<Vec<_>>().join(",")
}

/// `%40` is `@`, and so on.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                digit(high).zip(digit(low)).map(|(high, low)| (high * 16 + low) as u8)
            }
            _ => None,
        };
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &rest[3..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_and_left_out() {
        for (url, printed, login) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222", None),
            ("nats://user:p%40ss%2@host", "nats://host", Some(Login::User("user".into(), "p@ss%2".into()))),
            ("tls://tok%3aen@host:1", "tls://host:1", Some(Login::Token("tok:en".into()))),
            ("host,token@other:2", "host,other:2", Some(Login::Token("token".into()))),
        ] {
            assert_eq!(without_credentials(url), printed);
            let (servers, found) = parse(url).unwrap();
            assert_eq!((servers.len(), found), (url.split(',').count(), login), "{url}");
        }
        assert!(parse("http://user:secret@host").is_err_and(|e| !e.contains("secret")));
        assert!(parse("nats://user:secret@ho st").is_err_and(|e| !e.contains("secret")));
    }
}
