#!/usr/bin/env python3
"""Runs schemathesis against hostd on this machine: run.py HOSTD SCHEMATHESIS [options of `schemathesis run`].

Logs in with the console's password, changes it, and gives schemathesis an administrator's token. What it may not reach:
its own login and token, and streams that do not end.
"""
import http.client
import json
import subprocess
import sys

PASSWORD = "four words will do"
# Streams never end; the user's own session and token are what the run stands on.
EXCLUDED = ["WatchEvents", "OpenConsole", "DeleteToken", "DeleteUser", "ChangeUser", "LogOut", "ChangePassword", "LogIn"]


def ask(address, method, path, body, headers):
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request(method, path, json.dumps(body), {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    text = response.read()
    assert response.status < 300, f"{method} {path}: {response.status} {text}"
    return response, json.loads(text) if text else None


def token(address, first):
    response, session = ask(address, "POST", "/api/v1/session", {"user": "admin", "password": first}, {})
    cookie = response.getheader("Set-Cookie").split(";")[0]
    headers = {"Cookie": cookie, "X-Bramble-CSRF": session["csrf"]}
    ask(address, "POST", "/api/v1/session/password", {"current": first, "new": PASSWORD}, headers)
    _, made = ask(address, "POST", "/api/v1/tokens", {"name": "schemathesis", "role": "administrator"}, headers)
    return made["secret"]


def main():
    hostd, schemathesis, *options = sys.argv[1:]
    host = subprocess.Popen([hostd, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        address = first = None
        for line in host.stdout:
            if "http://" in line:
                address = line.split("http://")[1].strip()
            if "password " in line:
                first = line.split("password ")[1].strip()
            if address and first:
                break
        command = [schemathesis, "run", f"http://{address}/api/v1/openapi.json", "--header"]
        command += [f"Authorization: Bearer {token(address, first)}", *options]
        for operation in EXCLUDED:
            command += ["--exclude-operation-id", operation]
        status = subprocess.run(command).returncode
        # It still answers.
        ask(address, "GET", "/api/v1", None, {})
        return status
    finally:
        host.kill()


if __name__ == "__main__":
    sys.exit(main())
