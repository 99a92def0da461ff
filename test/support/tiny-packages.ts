/** Package managers on a root of a test's own, with tiny packages that are built for it. */
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface TinyDpkg {
  /** Builds and installs a version; dpkg's log and database are those of the root. */
  install(name: string, version: string): Promise<void>;
  remove(name: string): Promise<void>;
}

/** Makes an empty database of dpkg in a folder that stands for `/`. */
export async function openTinyDpkg(root: string): Promise<TinyDpkg> {
  for (const folder of ["var/lib/dpkg/updates", "var/lib/dpkg/info", "var/log/apt"]) {
    await mkdir(join(root, folder), { recursive: true });
  }
  for (const file of ["var/lib/dpkg/status", "var/lib/dpkg/available", "var/log/dpkg.log"]) {
    await writeFile(join(root, file), "");
  }
  const dpkg = (...words: string[]) =>
    run("dpkg", [`--root=${root}`, `--log=${join(root, "var/log/dpkg.log")}`, ...words], {
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8", DPKG_FRONTEND_LOCKED: "" },
    });
  return {
    async install(name, version) {
      const folder = join(root, `build-${name}-${version}`);
      await mkdir(join(folder, "DEBIAN"), { recursive: true });
      await mkdir(join(folder, "usr/share/tiny"), { recursive: true });
      await writeFile(join(folder, "usr/share/tiny", name), version);
      await writeFile(
        join(folder, "DEBIAN/control"),
        `Package: ${name}\nVersion: ${version}\nArchitecture: all\nMaintainer: t <t@example.org>\n` +
          "Description: tiny\n of a test\n",
      );
      const file = `${folder}.deb`;
      await run("dpkg-deb", ["--root-owner-group", "-Znone", "-b", folder, file]);
      await dpkg("-i", file);
    },
    remove: async (name) => void await dpkg("-P", name),
  };
}

export interface TinyRpm {
  install(name: string, version: string): Promise<void>;
  remove(name: string): Promise<void>;
}

/** Makes an empty database of rpm in a folder that stands for `/`. */
export async function openTinyRpm(root: string): Promise<TinyRpm> {
  await mkdir(join(root, "var/lib/rpm"), { recursive: true });
  const rpm = (...words: string[]) =>
    run("rpm", ["--root", root, "--dbpath", "/var/lib/rpm", ...words]);
  await rpm("--initdb");
  return {
    async install(name, version) {
      const folder = join(root, `build-${name}-${version}`);
      await mkdir(folder, { recursive: true });
      const spec = join(folder, "tiny.spec");
      await writeFile(
        spec,
        `Name: ${name}\nVersion: ${version}\nRelease: 1\nSummary: tiny\nLicense: none\n` +
          "BuildArch: noarch\n%description\ntiny\n%files\n",
      );
      await run("rpmbuild", ["-bb", "--define", `_topdir ${folder}`, spec]);
      const file = join(folder, `RPMS/noarch/${name}-${version}-1.noarch.rpm`);
      await rpm("-U", "--nodeps", file);
    },
    remove: async (name) => void await rpm("-e", name),
  };
}
