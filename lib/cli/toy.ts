import type { Command } from 'commander'
export function registerToy(_program: Command): void {}
