// UI の日本語。鍵が欠ければ型の誤りになる。

import type { Table } from "./en";

export const ja: Table = {
  "app.name": "Bramble",
  "app.skip": "本文へ移動",
  "app.loading": "読み込み中…",

  "login.title": "ログイン",
  "login.user": "ユーザー",
  "login.password": "パスワード",
  "login.submit": "ログイン",
  "login.busy": "確認中…",
  "login.first":
    "はじめての方へ：ユーザーは「admin」です。パスワードはホスト本体のコンソール（画面またはシリアル）に表示されています。",
  "login.over": "セッションが終了しました。ログインすると続きから操作できます。",
  "login.show": "パスワードを表示",
  "login.hide": "パスワードを隠す",

  "session.end": "ログアウト",

  "fingerprint.title": "このホストは本物ですか？",
  "fingerprint.why":
    "証明書はホスト自身が発行したため、ブラウザーはまだ信頼できず警告を出しました。パスワードを入力する前に、ホストの認証局のフィンガープリントをコンソールの表示と見比べてください。",
  "fingerprint.same":
    "途中に入り込んだ偽のページはここに何でも表示できます。ブラウザーの証明書画面で発行者も確認してください。一致しないときはログインしないでください。",
  "fingerprint.trust": "ホストの CA をダウンロードしてブラウザーに登録",
  "fingerprint.plain": "この接続は暗号化されていません。同じマシン上での開発専用です。",
  "fingerprint.label": "ホスト CA の SHA-256",

  "password.title": "新しいパスワードの設定",
  "password.must": "コンソールに表示されるパスワードは最初のログイン専用です。",
  "password.current": "現在のパスワード",
  "password.new": "新しいパスワード",
  "password.again": "新しいパスワード（確認）",
  "password.rule": "10～256 文字。ユーザー名と同じものは使えません。",
  "password.differ": "2 つの入力が一致しません。",
  "password.submit": "パスワードを変更",

  "problem.offline": "ホストが応答しません。",
  "problem.offline.remedy": "ネットワークとホストの電源を確認してください。この画面は自動で再試行します。",

  "language.label": "言語",
  "theme.label": "外観",
  "theme.system": "システムに合わせる",
  "theme.light": "ライト",
  "theme.dark": "ダーク",
};
