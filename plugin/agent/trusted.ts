/**
 * Whether a directory is safe to keep the socket or the journal in: nobody but root and this process's user may
 * put another file in the place of one that lies there.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';

/** Write permission of the group and of others; where a user runs the agent, the group is commonly his own. */
const writableFor = (uid: number | undefined): number => (uid === 0 ? 0o022 : 0o002);
/** In a directory that is sticky, only its owner may remove what he owns (unlink(2)). */
const STICKY = 0o1000;

/** `directory`, and what lies above it. */
function* upwards(directory: string): Generator<string> {
  for (let each = directory; ; each = path.dirname(each)) {
    yield each;
    if (each === path.dirname(each)) return;
  }
}

/**
 * Checks an existing directory, and all above it, by the path as given and by what it resolves to.
 * @throws Error that names the directory which is not safe, and the cure
 */
export function requireTrusted(directory: string, uid: number | undefined = process.geteuid?.()): void {
  const resolved = path.resolve(directory);
  const real = fs.realpathSync(resolved);
  for (const each of new Set([...upwards(resolved), ...upwards(real)])) {
    const stat = fs.lstatSync(each);
    if (stat.uid !== 0 && stat.uid !== uid) {
      throw new Error(
        `${each} belongs to user ${stat.uid}, who could put another file in the place of one in ${directory}: chown it to root, or choose another directory`,
      );
    }
    // The mode of a symbolic link means nothing. Above, a sticky directory such as /tmp protects what is in it.
    const mayBeSticky = each !== real && (stat.mode & STICKY) !== 0;
    if (!stat.isSymbolicLink() && !mayBeSticky && (stat.mode & writableFor(uid)) !== 0) {
      throw new Error(
        `${each} may be written by its group or by everybody, who could put another file in the place of one in ${directory}: run chmod go-w on it, or choose another directory`,
      );
    }
  }
}
