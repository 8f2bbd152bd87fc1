// What the UI says, in English. The keys are the table that every other language has to fill.

export const en = {
  "app.name": "Bramble",
  "app.skip": "Skip to content",
  "app.loading": "Loading…",

  "login.title": "Log in",
  "login.user": "User",
  "login.password": "Password",
  "login.submit": "Log in",
  "login.busy": "Checking…",
  "login.first":
    "First time here? The user is “admin”. The host shows its password on its console, the screen or serial line of the machine itself.",
  "login.over": "Your session has ended. Log in to go on where you were.",
  "login.show": "Show password",
  "login.hide": "Hide password",

  "session.end": "Log out",

  "fingerprint.title": "Is this your host?",
  "fingerprint.why":
    "The host made its own certificate, so your browser can't know it yet and has warned you. Before you type a password, compare the fingerprint of the host's certificate authority with the one on its console:",
  "fingerprint.same":
    "Look at the issuer in your browser's certificate view as well: a page in the middle could show you any text here. If they differ, do not log in.",
  "fingerprint.trust": "Download the host's CA to trust it in your browser",
  "fingerprint.plain": "This connection is not encrypted. That is meant for development on one machine only.",
  "fingerprint.label": "SHA-256 of the host's CA",

  "password.title": "Choose a new password",
  "password.must": "The password that the console shows is for the first login only.",
  "password.current": "Password of now",
  "password.new": "New password",
  "password.again": "New password, again",
  "password.rule": "10 to 256 characters, not the user's name.",
  "password.differ": "The two do not match.",
  "password.submit": "Change password",

  "problem.offline": "The host does not answer.",
  "problem.offline.remedy": "Check the network and the host's power; this page tries again by itself.",

  "language.label": "Language",
  "theme.label": "Appearance",
  "theme.system": "As the system",
  "theme.light": "Light",
  "theme.dark": "Dark",
} as const;

export type Key = keyof typeof en;
export type Table = Readonly<Record<Key, string>>;
