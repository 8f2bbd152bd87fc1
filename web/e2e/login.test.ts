// The first login, on a host that nobody has touched.
import { Hostd, choosePassword, expect, logIn, logOut, test } from "./fixtures";

test("the console's password opens the host once, and has to be changed", async ({ page }) => {
  const hostd = await Hostd.start();
  try {
    await page.goto(`${hostd.url}/vms/web`);
    await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
    // The host names its CA, for comparison with its console.
    await page.getByText("Is this your host?").click();
    await expect(page.getByLabel("SHA-256 of the host's CA")).toHaveText(/[0-9a-f]{2}/i);

    await logIn(page, "admin", "a guess");
    await expect(page.getByText("the user or the password is wrong")).toBeVisible();
    await expect(page.getByText("a lost password is reset at the host's console")).toBeVisible();

    await logIn(page, "admin", hostd.first);
    await expect(page.getByRole("heading", { name: "Choose a new password" })).toBeVisible();
    await choosePassword(page, hostd.first);
    // The link that was asked for before the login.
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("web");

    const cookies = await page.context().cookies();
    expect(cookies).toMatchObject([{ name: "__Host-bramble", httpOnly: true, secure: true, sameSite: "Strict", path: "/" }]);
    await page.reload();
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("web");
    await logOut(page);
    await logIn(page, "admin", hostd.first);
    await expect(page.getByText("the user or the password is wrong")).toBeVisible();
  } finally {
    await hostd.kill();
  }
});
