/** Words and names that the paper’s figures share. */

export const plainOrCentred = (centred) => (centred ? 'centred' : 'plain')

export const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, '-')
