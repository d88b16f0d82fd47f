/* What the agent makes of the files that tell of power, network and load, and of the conditions
 * file. */
#include "agent/agent.h"
#include "support.h"

#include <stdio.h>
#include <string.h>

static void put(const char *root, const char *path, const char *text) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    char full[IO_PATH_MAX], dir[IO_PATH_MAX];
    ASSERT_OK(io_join(full, sizeof full, root, path, &err));
    memcpy(dir, full, sizeof dir);
    *strrchr(dir, '/') = '\0';
    ASSERT_OK(io_mkdir_p(dir, 0700, &err));
    ASSERT_OK(io_write_file(full, text, strlen(text), 0600, false, &err));
}

static sotto_client_conditions look(const char *root, const char *file) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_client_conditions c;
    ASSERT_OK(agent_conditions_read(root, file, false, &c, &err));
    return c;
}

static void test_mains(void **state) {
    (void)state;
    char root[IO_PATH_MAX];
    snprintf(root, sizeof root, "%s", test_path("mains"));
    const sotto_client_conditions c = look(root, test_path("none")); /* nothing to be read at all */
    assert_true(c.charging && c.idle && c.unmetered && c.online);
    assert_int_equal(c.battery_percent, -1);
}

static void test_phone(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    char root[IO_PATH_MAX], file[IO_PATH_MAX];
    sotto_client_conditions c;
    snprintf(root, sizeof root, "%s", test_path("phone"));
    snprintf(file, sizeof file, "%s", test_path("conditions"));
    put(root, "sys/class/power_supply/BAT0/type", "Battery\n");
    put(root, "sys/class/power_supply/BAT0/status", "Discharging\n");
    put(root, "sys/class/power_supply/BAT0/capacity", "37\n");
    put(root, "sys/class/power_supply/mouse/type", "Battery\n");
    put(root, "sys/class/power_supply/mouse/scope", "Device\n");
    put(root, "sys/class/power_supply/mouse/status", "Full\n");
    put(root, "sys/class/power_supply/AC/type", "Mains\n");
    put(root, "sys/class/power_supply/AC/online", "0\n");
    put(root, "proc/net/route",
        "Iface\tDestination\tGateway\nwlan0\t0000A8C0\t00000000\nusb1\t00000000\t0100A8C0\n");
    put(root, "sys/class/net/usb1/uevent", "DEVTYPE=wwan\nINTERFACE=usb1\n");
    put(root, "proc/loadavg", "900.00 1.00 1.00 1/200 1234\n");
    c = look(root, file);
    assert_false(c.charging || c.idle || c.unmetered);
    assert_int_equal(c.battery_percent, 37);
    put(root, "sys/class/power_supply/AC/online", "1\n");
    put(root, "proc/loadavg", "0.01 1.00 1.00 1/200 1234\n");
    c = look(root, file);
    assert_true(c.charging && c.idle && !c.unmetered);
    /* who knows better has the last word */
    ASSERT_OK(io_write_file(file, "# by hand\nunmetered yes\ncharging no\nbattery_percent 90", 54,
                            0600, false, &err));
    c = look(root, file);
    assert_true(c.unmetered && !c.charging && c.online);
    assert_int_equal(c.battery_percent, 90);
    ASSERT_OK(io_write_file(file, "online yes\nunmeterd no\n", 23, 0600, false, &err));
    ASSERT_FAILS(agent_conditions_read(root, file, false, &c, &err), SOTTO_CONFIG, ":2: ");
    assert_false(c.online); /* a file that says nothing stops the work */
    ASSERT_OK(io_write_file(file, "charging maybe\n", 15, 0600, false, &err));
    ASSERT_FAILS(agent_conditions_read(root, file, false, &c, &err), SOTTO_INVALID, ":1: ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mains),
        cmocka_unit_test(test_phone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
