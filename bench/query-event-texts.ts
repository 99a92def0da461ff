/**
 * Texts of invented events, by topic: the paths, sentences and details as they were recorded, with as many digits that
 * follow from nothing as there were.
 */

/** SQL of a number below another that follows from the number of the row, or from another column. */
export type Random = (salt: number, below: number | string, of?: string) => string;

/** Of an event's object: what is made has a new name, what is written has one of a few. */
export function pathSql(random: Random): string {
  const folder = `'/srv/app/' || ${random(20, 2_500, "n // 60")} || '/'`;
  return `CASE topic
    WHEN 'file/create' THEN ${folder} || 'build/directory/name-' || (n % 1000000)
    WHEN 'file/delete' THEN ${folder} || 'tmp.' || ${random(21, 12_000_000)}
    WHEN 'file/write' THEN '/srv/app/' || ${random(22, 140, "n // 15")} || '/logs/refs/state-' || ${
    random(23, 2, "n // 15")
  }
    WHEN 'file/rename' THEN '/srv/app/src/' || ${random(24, 140, "n // 40")} || '/module-' || ${
    random(25, 1_700)
  } || '.ts'
    WHEN 'file/link' THEN ${folder} || '.git/objects/' || ${hexSql(random, 26)}
    WHEN 'file/change' THEN '/etc/app/' || ${random(27, 200)} || '.conf'
    END`;
}

/** What a renamed file was called before. */
export function renamedSql(random: Random): string {
  return `'/srv/app/src/tmp-' || ${random(28, 16_000_000_000)}`;
}

/** As many digits as a name in a store of objects has. */
function hexSql(random: Random, salt: number): string {
  const part = (more: number): string => `printf('%09x', ${random(salt + more, "68719476736")})`;
  return `${part(0)} || ${part(100)}`;
}

export function messageSql(random: Random): string {
  return `CASE topic
    WHEN 'process/exec' THEN ['root', 'deploy'][user_number + 1] || ' ran ' || exe_text
    WHEN 'process/fork' THEN exe_text || ' forked process ' || pid_number
    WHEN 'process/exit' THEN exe_text || ' exited with code 0'
    WHEN 'network/connect' THEN exe_text || ' connected to 127.0.0.1:' ||
      (41000 + ${random(7, 180, "message_number")})
    WHEN 'network/accept' THEN exe_text || ' accepted a connection from 127.0.0.1:' || port ||
      ' on port ' || (41000 + ${random(7, 180, "message_number")})
    WHEN 'network/close' THEN exe_text || ' ended its connection with 127.0.0.1:' || port
    WHEN 'network/listen' THEN exe_text || ' listens on 127.0.0.1:' || port
    WHEN 'file/rename' THEN exe_text || ' renamed ' || ${renamedSql(random)} || ' to ' || path_text
    WHEN 'file/delete' THEN exe_text || ' removed ' || path_text
    WHEN 'file/write' THEN exe_text || ' opened ' || path_text || ' for writing'
    WHEN 'file/link' THEN exe_text || ' made the link ' || path_text
    WHEN 'file/change' THEN exe_text || ' changed ' || path_text
    WHEN 'file/create' THEN exe_text || ' created directory ' || path_text
    ELSE exe_text || ' (' || topic || ')' END`;
}

/** Lengths as recorded: 430 characters of an exec, 130 of a file, 40 of the others; a diff has two to ten lines. */
export function detailSql(random: Random): string {
  const ancestor = (process: string, exe: string): string =>
    `'{"pid":' || (300 + (${process} // 50) % 4000000) || ',"process_id":"' || boot || '-' ||
      (300 + (${process} // 50) % 4000000) || '-' || ${process} || '","exe":"${exe}"}'`;
  const ancestors = [
    ancestor("parent", "/usr/bin/dash"),
    ancestor("(n // 4000 * 50 + 4)", "/usr/bin/timeout"),
    `'{"pid":1,"process_id":"' || boot || '-1-32"}'`,
  ].join(` || ',' || `);
  const device = `,"device":"254:0"`;
  const generation = `,"generation":' || ${random(30, 4_000_000_000)} || '`;
  const line = (place: number): string =>
    `'\\n+option_' || ${random(50 + place, 500)} || ' = ' || ${random(60 + place, 100_000)}`;
  return `CASE topic
    WHEN 'process/exec' THEN '{"argv":["program-' || exe_number || '","--run","task-' || command_number ||
      '","-o","/srv/app/build/output-' || (command_number * 7) || '"],"argv_bytes":' || (20 + command_number % 80) ||
      ',"truncated":false,"ancestors":[' || ${ancestors} || '],"inode":' || (260000 + exe_number) || '${device}}'
    WHEN 'process/exit' THEN '{"exit_code":0,"duration_ms":' || (${
    random(31, 90_000)
  } / 1000.0) || '}'
    WHEN 'file/change' THEN '{"how":"write","kind":"content-diff","type":"regular"${device},"inode":' ||
      ${random(32, 200)} || '${generation},"mode":"0100644","size":' || ${random(33, 100_000)} ||
      ',"diff":"--- a\\n+++ b\\n@@ -1 +1 @@' || ${line(0)} || ${line(1)} ||
      repeat(${line(2)}, ${random(34, 9)}) || '","sha256_before":"' || sha256((n + 1)::VARCHAR) ||
      '","sha256_after":"' || sha256(n::VARCHAR) || '"}'
    WHEN 'file/create' THEN '{"how":"mkdir","type":"directory"${device},"inode":' || (n % 3000000 + ${
    random(35, 3)
  }) || '${generation},"mode":"040755","size":40,"links":2}'
    WHEN 'file/delete' THEN '{"how":"unlink"${device},"inode":' || (2150000 + ${
    random(36, 8_000)
  }) || '${generation}}'
    WHEN 'file/write' THEN '{"inode":' || (2150000 + ${
    random(22, 140, "n // 15")
  }) || '${device},"generation":' || (${
    random(37, 2_000, "n // 15")
  } * 2097143) || ',"mode":"0100644","size":' || ${
    random(38, 2_000, "n // 15")
  } || ',"links":1,"flags":"O_WRONLY","how":"write"}'
    WHEN 'file/rename' THEN '{"how":"rename","type":"regular"${device},"inode":' || (2150000 + ${
    random(39, 3_000)
  }) || '${generation},"mode":"0100644","size":' || ${random(40, 9_000)} || ',"links":1}'
    WHEN 'file/link' THEN '{"how":"link","type":"regular"${device},"inode":' || (2150000 + n % 9000) ||
      '${generation},"mode":"0100444","size":' || ${random(41, 2_000)} || ',"links":1}'
    WHEN 'network/connect' THEN '{"family":"inet","duration_ms":0.0' || (20 + ${
    random(42, 16)
  }) || '}'
    WHEN 'network/close' THEN '{"family":"inet","duration_ms":' || (${
    random(43, 90_000)
  } / 1000.0) ||
      ',"bytes_in":' || ${random(44, 900)} || ',"bytes_out":' || ${
    random(45, 900)
  } || ',"ends":"accept"}'
    WHEN 'network/accept' THEN '{"family":"inet"}'
    WHEN 'network/listen' THEN '{"family":"inet"}'
    END`;
}
